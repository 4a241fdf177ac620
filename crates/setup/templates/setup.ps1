# Set-up of an application for Postroom. Review it, then paste the whole block into PowerShell 7 and press Enter.
# Needs the modules Microsoft.Graph.Applications{% if exchange %} and ExchangeOnlineManagement{% endif %}. It asks before it changes anything, and may
# be run again: nothing is made twice.
& {
$ErrorActionPreference = 'Stop'
$mark = {{ plan.mark }}
$name = {{ plan.application }}
Write-Host 'This will be made and granted:'
{%- for line in lines %}
Write-Host {{ line }}
{%- endfor %}
{%- for warning in warnings %}
Write-Host {{ "Note: " ~ warning }}
{%- endfor %}
if ((Read-Host 'Type yes to go on') -ne 'yes') { Write-Host 'Nothing was changed.'; return }

Connect-MgGraph -NoWelcome -Environment {{ environment }} -Scopes 'Application.ReadWrite.All', 'AppRoleAssignment.ReadWrite.All'{% if plan.tenant %} -TenantId {{ plan.tenant }}{% endif %}
$application = Get-MgApplication -All -Filter {{ find_filter }} | Where-Object { $_.Tags -contains $mark } | Select-Object -First 1
if (-not $application) {
  $application = New-MgApplication -DisplayName $name -SignInAudience {{ audience }} -IsFallbackPublicClient:$false -Tags @('postroom', $mark){% if plan.redirect_uris %} -Web @{ RedirectUris = @({% for uri in plan.redirect_uris %}{{ uri }}{% if not loop.last %}, {% endif %}{% endfor %}) }{% endif %}
}
$principal = Get-MgServicePrincipal -Filter "appId eq '$($application.AppId)'" | Select-Object -First 1
for ($try = 1; -not $principal; $try++) {
  try { $principal = New-MgServicePrincipal -AppId $application.AppId }
  catch { if ($try -ge 8) { throw }; Start-Sleep -Seconds (3 * $try) }
}
{%- for grant in grants %}

# {{ grant.value|comment }}: {{ grant.why|comment }}
$resource = Get-MgServicePrincipal -Filter {{ grant.filter }} | Select-Object -First 1
$role = $resource.AppRoles | Where-Object { $_.Value -eq {{ grant.value }} } | Select-Object -First 1
$granted = Get-MgServicePrincipalAppRoleAssignment -All -ServicePrincipalId $principal.Id | Where-Object { $_.AppRoleId -eq $role.Id }
if (-not $granted) {
  $null = New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $principal.Id -PrincipalId $principal.Id -ResourceId $resource.Id -AppRoleId $role.Id
}
{%- endfor %}

$keyName = {{ plan.key.name }}
{%- if certificate %}
# The public half of the certificate; the private key stays where Postroom runs
$application = Get-MgApplication -ApplicationId $application.Id -Property id,appId,keyCredentials
if (-not ($application.KeyCredentials | Where-Object { $_.DisplayName -eq $keyName })) {
  $key = @{ Type = 'AsymmetricX509Cert'; Usage = 'Verify'; DisplayName = $keyName; Key = [Convert]::FromBase64String({{ certificate }}) }
  Update-MgApplication -ApplicationId $application.Id -KeyCredentials (@($application.KeyCredentials) + $key | Where-Object { $_ })
  $application = Get-MgApplication -ApplicationId $application.Id -Property id,appId,keyCredentials
}
$key = $application.KeyCredentials | Where-Object { $_.DisplayName -eq $keyName } | Select-Object -First 1
$secret = $null
{%- else %}
# A secret is shown by Microsoft only once: one of an earlier run is replaced
$application = Get-MgApplication -ApplicationId $application.Id -Property id,appId,passwordCredentials
foreach ($old in @($application.PasswordCredentials | Where-Object { $_.DisplayName -eq $keyName })) {
  Remove-MgApplicationPassword -ApplicationId $application.Id -KeyId $old.KeyId
}
$key = Add-MgApplicationPassword -ApplicationId $application.Id -PasswordCredential @{ DisplayName = $keyName; EndDateTime = [DateTime]::Parse({{ ends }}).ToUniversalTime() }
$secret = $key.SecretText
{%- endif %}
{%- if exchange %}

# Exchange. A line that says "already exists" or "already being used" was done by an earlier run and is passed over; any other error is counted.
$wrong = [Collections.Generic.List[string]]::new()
function Invoke-Line([scriptblock] $line) {
  try { & $line }
  catch {
    if ("$_" -match "already (exists|being used)") { Write-Host "Passed over: $_" }
    else { $wrong.Add("$_"); Write-Host "FAILED: $line`n  $_" -ForegroundColor Red }
  }
}
Connect-ExchangeOnline -ShowBanner:$false{% if exchange_environment %} -ExchangeEnvironmentName {{ exchange_environment }}{% endif %}
# Cmdlets of a module do not see $ErrorActionPreference: each is told to stop.
$PSDefaultParameterValues = @{ '*:ErrorAction' = 'Stop' }
{%- for line in exchange %}
{% if line is startingwith "#" %}{{ line|safe }}{% else %}Invoke-Line { {{ line|safe }} }{% endif %}
{%- endfor %}
$PSDefaultParameterValues = @{}
if ($wrong.Count) { throw "NOT done: $($wrong.Count) of the lines for Exchange failed. Mend what is named above, then run this again; nothing is made twice." }
{%- endif %}

$made = [ordered]@{
  connection = {{ plan.connection }}; mark = $mark
  api = {{ plan.api }}; limit = {{ plan.limit }}; cloud = {{ cloud }}; authority = {{ authority }}; graph = {{ graph }}
  tenant_id = (Get-MgContext).TenantId; application_id = $application.AppId; object_id = $application.Id; principal_id = $principal.Id
  kind = {{ plan.key.kind }}; key_id = "$($key.KeyId)"; expires_at = $key.EndDateTime.ToUniversalTime().ToString('yyyy-MM-ddTHH:mm:ssZ')
  mailboxes = @({% for mailbox in plan.mailboxes %}{{ mailbox }}{% if not loop.last %}, {% endif %}{% endfor %})
}
if ($secret) {
  $made.secret = $secret
  Write-Host 'The next line holds the SECRET: hand it over as you would a password.'
}
$bytes = [Text.Encoding]::UTF8.GetBytes(($made | ConvertTo-Json -Compress -Depth 3))
Write-Host 'Done. Paste this one line into Postroom: postroom setup import -'
'postroom-setup:v2:' + [Convert]::ToBase64String($bytes).TrimEnd('=').Replace('+', '-').Replace('/', '_')
}
