# Takes back what the set-up script for Postroom has made, and only that. Paste the whole block into PowerShell 7.
& {
$ErrorActionPreference = 'Stop'
$mark = {{ plan.mark }}
Connect-MgGraph -NoWelcome -Environment {{ environment }} -Scopes 'Application.ReadWrite.All', 'AppRoleAssignment.ReadWrite.All'{% if plan.tenant %} -TenantId {{ plan.tenant }}{% endif %}
$application = Get-MgApplication -All -Filter {{ find_filter }} | Where-Object { $_.Tags -contains $mark } | Select-Object -First 1
if (-not $application) { Write-Host 'There is nothing to take back.'; return }
$principal = Get-MgServicePrincipal -Filter "appId eq '$($application.AppId)'" | Select-Object -First 1
Write-Host {{ "This removes the application " ~ plan.application ~ ", its grants and its credentials:" }} $application.AppId
if ((Read-Host 'Type yes to go on') -ne 'yes') { Write-Host 'Nothing was changed.'; return }
{%- if exchange %}

# Exchange. A line that says "couldn't be found" has nothing to take back; any other error is counted.
$wrong = [Collections.Generic.List[string]]::new()
function Invoke-Line([scriptblock] $line) {
  try { & $line }
  catch {
    if ("$_" -match "couldn.t be found") { Write-Host "Passed over: $_" }
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
if ($wrong.Count) { throw "NOT done: $($wrong.Count) of the lines for Exchange failed; the application stands still. Mend what is named above, then run this again." }
{%- endif %}

if ($principal) {
  foreach ($grant in @(Get-MgServicePrincipalAppRoleAssignment -All -ServicePrincipalId $principal.Id)) {
    Remove-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $principal.Id -AppRoleAssignmentId $grant.Id
  }
  Remove-MgServicePrincipal -ServicePrincipalId $principal.Id
}
Remove-MgApplication -ApplicationId $application.Id
Write-Host 'Done. Microsoft keeps a removed application for 30 days under Deleted applications.'
}
