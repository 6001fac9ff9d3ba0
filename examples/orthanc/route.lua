-- Sends every study to Scanward once nothing more of it comes (StableAge). In Orthanc's configuration:
--
--   "DicomModalities": { "scanward": ["SCANWARD", "127.0.0.1", 11112] },
--   "LuaScripts": ["route.lua"]
--
-- What Scanward sends back makes the study stable once more, and must not go round in circles. How many objects came
-- from elsewhere is kept with the study, and it is sent again only where that has changed. A job that failed, as Scanward
-- was away, is sent again by `POST /jobs/ID/resubmit`; who wants nothing to be missed has Scanward pull instead ([[pull]]).

SCANWARD = 'scanward'  -- its name in DicomModalities
TITLE = 'SCANWARD'     -- its AE title
KEPT = '4200'          -- a metadata of the study; numbers from 1024 on are free

function OnStableStudy(study, tags, metadata)
  local others = 0
  for _, instance in pairs(ParseJson(RestApiGet('/studies/' .. study .. '/instances'))) do
    local known = ParseJson(RestApiGet('/instances/' .. instance['ID'] .. '/metadata?expand'))
    if known['RemoteAET'] ~= TITLE then
      others = others + 1
    end
  end
  if others > 0 and metadata[KEPT] ~= tostring(others) then
    RestApiPut('/studies/' .. study .. '/metadata/' .. KEPT, tostring(others))
    RestApiPost('/modalities/' .. SCANWARD .. '/store', DumpJson({ Resources = { study }, Asynchronous = true }))
  end
end
