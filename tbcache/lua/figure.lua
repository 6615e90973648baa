-- figure: the figures of a day, as a hash has them: "worker:metric" -> count.

-- Adds the figures, as HGETALL gives them, to the sums over all workers. What is no count is left out.
local function add_figures(sums, figures)
    for i = 1, #figures, 2 do
        local metric, count = string.match(figures[i], ':([%w_.]+)$'), string.match(figures[i + 1], '^%d+$')
        if metric and count and #count <= 15 then
            sums[metric] = (sums[metric] or 0) + tonumber(count)
        end
    end
end
