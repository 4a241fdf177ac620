#!/usr/bin/env bash
# Takes back what the set-up script for Postroom has made, and only that. Needs az, curl and jq.
set -euo pipefail
main() {
base={{ graph }}
mark={{ plan.mark }}
say() { printf '%s\n' "$*" >&2; }
token=$(az account get-access-token --resource {{ resource }} --query accessToken --output tsv)
graph() { # METHOD PATH
  printf 'header = "Authorization: Bearer %s"\n' "$token" |
    curl --silent --show-error --fail-with-body --request "$1" --config - "$base/v1.0/$2"
}
application=$(graph GET {{ find_path }} | jq -c --arg mark "$mark" '[.value[] | select((.tags // []) | index($mark))][0] // empty')
if [ -z "$application" ]; then say 'There is nothing to take back.'; return 0; fi
object_id=$(jq -r .id <<<"$application")
application_id=$(jq -r .appId <<<"$application")
principal_id=$(graph GET "servicePrincipals?\$filter=appId%20eq%20'$application_id'" | jq -r '.value[0].id // empty')
say {{ "This removes the application " ~ plan.application ~ ", its grants and its credentials:" }} "$application_id"
printf 'Type yes to go on: ' >&2
read -r answer || true
if [ "${answer-}" != yes ]; then say 'Nothing was changed.'; return 1; fi
{%- if exchange %}
say 'Run this part in Exchange Online PowerShell first. A line that says "could not be found" has nothing to take back:'
sed -e "s/@application@/$application_id/g" -e "s/@principal@/$principal_id/g" >&2 <<'POSTROOM_EXCHANGE'
Connect-ExchangeOnline{% if exchange_environment %} -ExchangeEnvironmentName {{ exchange_environment }}{% endif %}
{%- for line in exchange %}
{{ line|safe }}
{%- endfor %}
POSTROOM_EXCHANGE
printf 'Type done when every line ran: ' >&2
read -r answer || true
if [ "${answer-}" != done ]; then say 'NOT done: the application stands still.'; return 1; fi
{%- endif %}
if [ -n "$principal_id" ]; then
  for grant in $(graph GET "servicePrincipals/$principal_id/appRoleAssignments" | jq -r '.value[].id'); do
    graph DELETE "servicePrincipals/$principal_id/appRoleAssignments/$grant"
  done
  graph DELETE "servicePrincipals/$principal_id"
fi
graph DELETE "applications/$object_id"
say 'Done. Microsoft keeps a removed application for 30 days under Deleted applications.'
}
main
