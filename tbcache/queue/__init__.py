"""The queue: work waits in Redis, where it costs nothing, until its source has a slot.

Whatever asks it raises RedisUnreachable, or Unavailable, which is one: there is no queue without Redis.
"""

from tbcache.models.job import Explanation
from tbcache.queue.broker import PacingBroker
from tbcache.queue.cancel import Cancelled
from tbcache.queue.dead import DeadFilter, DeadLetters, LetterMark, Requeued
from tbcache.queue.handle import Handle, QueuedJob
from tbcache.queue.heartbeat import HeartbeatMiddleware, get_broker
from tbcache.queue.job import DeadLetter, Deaths, QueueDepth, actor_name
from tbcache.queue.listing import JobFilter, JobMark, JobState, ListedJob
from tbcache.queue.many import enqueue_many
from tbcache.queue.queue import Queue, enqueue, get_queue, put
from tbcache.queue.rate_limit import RateLimitMiddleware
from tbcache.queue.reason import DeathCount
