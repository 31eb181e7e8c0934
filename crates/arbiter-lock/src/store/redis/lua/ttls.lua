-- Comes last in every script that grants.
local answer = step()
if sharing and sharing.moved then
  follow_longest(lock, share)
end
return answer
