--@include number
--@include token
-- fence: from now on a queue refuses what earlier leaders write.
-- KEYS  fence   STRING, the highest token that was seen
-- ARGV  token   the leader's
-- Replies 0; where the asker is no leader any more, the token of a later one.
return int(later_token(fence, token))
