-- Health of a SandboxConfig for Argo CD, read from its conditions.
local health = {status = "Progressing", message = "Waiting for the controller"}
if obj.status == nil or obj.status.conditions == nil then
  return health
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  health.message = "Waiting for the controller to see the latest change"
  return health
end
local conditions = {}
for _, condition in ipairs(obj.status.conditions) do
  conditions[condition.type] = condition
end
local stalled, ready = conditions["Stalled"], conditions["Ready"]
if stalled ~= nil and stalled.status == "True" then
  health.status, health.message = "Degraded", stalled.message
elseif ready ~= nil and ready.status == "True" then
  health.status, health.message = "Healthy", ready.message
  local pending = conditions["RestartPending"]
  if pending ~= nil and pending.status == "True" then
    health.status, health.message = "Suspended", pending.message
  end
elseif ready ~= nil and ready.status == "False" then
  health.status, health.message = "Degraded", ready.message
elseif ready ~= nil then
  health.message = ready.message
end
return health
