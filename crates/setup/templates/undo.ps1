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

# Exchange. A line that says "couldn't be found" has nothing to take back.
$ErrorActionPreference = 'Continue'
Connect-ExchangeOnline -ShowBanner:$false
{%- for line in exchange %}
{{ line|safe }}
{%- endfor %}
$ErrorActionPreference = 'Stop'
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
