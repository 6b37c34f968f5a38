-- Asks Usher whether a viewer may have a file. The same for all edges: HAProxy's configuration, which `usher edge create`
-- prints, calls it with the node's address, the edge's token, and for how many milliseconds an answer is waited for.

-- A header's lines as one, nil where there is none. HAProxy counts them from 0, and pairs() has them in no order.
local function joined(lines, between)
    return lines and table.concat(lines, between, 0)
end

local function without_ticket(query)
    local kept = {}
    for field in query:gmatch("[^&]+") do
        local name = field:match("^[^=]*")
        if name ~= "key" and name ~= "pass" then
            kept[#kept + 1] = field
        end
    end
    return table.concat(kept, "&")
end

-- Leaves in txn.usher_status what Usher answered, 0 for nothing, and the request as the origin shall have it.
core.register_action("usher", { "http-req" }, function(txn, usher, token, patience_ms)
    local viewers = txn.http:req_get_headers()
    local path, query, address = txn.sf:path(), txn.sf:query(), txn.sf:src()
    -- The right-most is the one that HAProxy saw itself; Usher knows which are proxies.
    local forwarded = joined(viewers["x-forwarded-for"], ", ")
    local asked = {
        ["authorization"] = { "Bearer " .. token },
        ["x-original-uri"] = { txn.sf:pathq() },
        ["x-original-method"] = { txn.sf:method() },
        ["x-forwarded-for"] = { forwarded and forwarded .. ", " .. address or address },
    }
    for name, between in pairs({ ["cookie"] = "; ", ["user-agent"] = " ", ["referer"] = " " }) do
        local text = joined(viewers[name], between)
        asked[name] = text and { text }
    end

    -- The URL without its ticket is what may be logged.
    txn:set_var("txn.usher_file", (path:gsub("^/t/[^/]*/?[^/]*", "")))
    txn:set_var("txn.usher_from", asked["x-forwarded-for"][1])
    local answer = {}
    -- A node that is known to be away is not waited for.
    if txn.f:nbsrv("usher_node") > 0 then
        answer = core.httpclient():get{
            url = "http://" .. usher .. "/v1/edges/haproxy", headers = asked, timeout = tonumber(patience_ms)
        }
    end
    txn:set_var("txn.usher_status", answer.status or 0)
    local said = answer.headers or {}
    for variable, name in pairs({ ["txn.usher_reason"] = "x-usher-reason", ["txn.usher_cookie"] = "set-cookie" }) do
        if said[name] then
            txn:set_var(variable, said[name][0])
        end
    end

    local inner = path:match("^/t/[^/]+/[^/]+(/.*)$")
    if inner then
        txn.http:req_set_path(inner)
    end
    txn.http:req_set_query(without_ticket(query))
end, 3)
