#!/usr/bin/env bash
# Set-up of an application for Postroom. Review it, then run it where `az login` was done as an administrator (the
# browser's cloud shell will do). Needs az, curl and jq. It asks before it changes anything, and may be run again:
# nothing is made twice. Talk goes to stderr; the one line to paste back goes to stdout.
set -euo pipefail
main() {
base={{ graph }}
mark={{ plan.mark }}
say() { printf '%s\n' "$*" >&2; }
say 'This will be made and granted:'
{%- for line in lines %}
say {{ line }}
{%- endfor %}
{%- for warning in warnings %}
say {{ "Note: " ~ warning }}
{%- endfor %}
printf 'Type yes to go on: ' >&2
read -r answer || true
if [ "${answer-}" != yes ]; then say 'Nothing was changed.'; return 1; fi

# The token goes to curl by its standard input, where no list of processes shows it.
token=$(az account get-access-token --resource {{ resource }} --query accessToken --output tsv)
graph() { # METHOD PATH [JSON]
  local options=(--silent --show-error --fail-with-body --request "$1" --config -)
  if [ $# -gt 2 ]; then options+=(--header 'Content-Type: application/json' --data-binary "$3"); fi
  printf 'header = "Authorization: Bearer %s"\n' "$token" | curl "${options[@]}" "$base/v1.0/$2"
}
patiently() { # a new object is not known everywhere at once
  local try answer
  for try in 1 2 3 4 5 6 7 8; do
    if answer=$("$@"); then printf '%s' "$answer"; return 0; fi
    say "not yet: $answer"; sleep $((try * 2))
  done
  return 1
}

application=$(graph GET {{ find_path }} | jq -c --arg mark "$mark" '[.value[] | select((.tags // []) | index($mark))][0] // empty')
if [ -z "$application" ]; then
  application=$(graph POST applications {{ create_body }})
fi
object_id=$(jq -r .id <<<"$application")
application_id=$(jq -r .appId <<<"$application")
principal_id=$(graph GET "servicePrincipals?\$filter=appId%20eq%20'$application_id'" | jq -r '.value[0].id // empty')
if [ -z "$principal_id" ]; then
  principal_id=$(patiently graph POST servicePrincipals "$(jq -cn --arg id "$application_id" '{appId: $id}')" | jq -r .id)
fi
{%- for grant in grants %}

# {{ grant.value|comment }}: {{ grant.why|comment }}
resource=$(graph GET {{ grant.path }} | jq -c '.value[0]')
grant=$(jq -c --arg role {{ grant.value }} --arg principal "$principal_id" \
  '{principalId: $principal, resourceId: .id, appRoleId: (.appRoles[] | select(.value == $role) | .id)}' <<<"$resource")
granted=$(graph GET "servicePrincipals/$principal_id/appRoleAssignments" |
  jq --argjson grant "$grant" '[.value[] | select(.appRoleId == $grant.appRoleId and .resourceId == $grant.resourceId)] | length')
if [ "$granted" = 0 ]; then
  patiently graph POST "servicePrincipals/$principal_id/appRoleAssignments" "$grant" >/dev/null
fi
{%- endfor %}

key_name={{ plan.key.name }}
secret=
{%- if certificate %}
# The public half of the certificate; the private key stays where Postroom runs
keys=$(patiently graph GET "applications/$object_id?\$select=id,keyCredentials" | jq -c '.keyCredentials')
if [ "$(jq --arg name "$key_name" '[.[] | select(.displayName == $name)] | length' <<<"$keys")" = 0 ]; then
  body=$(jq -c --arg name "$key_name" --arg key {{ certificate }} --arg starts {{ starts }} --arg ends {{ ends }} \
    '{keyCredentials: (. + [{type: "AsymmetricX509Cert", usage: "Verify", displayName: $name, key: $key, startDateTime: $starts, endDateTime: $ends}])}' <<<"$keys")
  patiently graph PATCH "applications/$object_id" "$body" >/dev/null
  keys=$(patiently graph GET "applications/$object_id?\$select=id,keyCredentials" | jq -c '.keyCredentials')
fi
key=$(jq -c --arg name "$key_name" '[.[] | select(.displayName == $name)][0]' <<<"$keys")
{%- else %}
# A secret is shown by Microsoft only once: one of an earlier run is replaced
add_secret() { # one whose answer was lost is known to nobody: before each try it is taken away
  local olds old
  olds=$(graph GET "applications/$object_id" | jq -r --arg name "$key_name" '.passwordCredentials[] | select(.displayName == $name) | .keyId') || return 1
  for old in $olds; do
    graph POST "applications/$object_id/removePassword" "$(jq -cn --arg id "$old" '{keyId: $id}')" >/dev/null || return 1
  done
  graph POST "applications/$object_id/addPassword" {{ secret_body }}
}
key=$(patiently add_secret)
secret=$(jq -r .secretText <<<"$key")
{%- endif %}
tenant_id=$(graph GET organization | jq -r '.value[0].id')
{%- if exchange %}

# Exchange has no commands here: this part is for PowerShell.
say ''
say 'One part is left, for Exchange Online PowerShell (Install-Module ExchangeOnlineManagement):'
say ''
sed -e "s/@application@/$application_id/g" -e "s/@principal@/$principal_id/g" >&2 <<'POSTROOM_EXCHANGE'
Connect-ExchangeOnline{% if exchange_environment %} -ExchangeEnvironmentName {{ exchange_environment }}{% endif %}
{%- for line in exchange %}
{{ line|safe }}
{%- endfor %}
POSTROOM_EXCHANGE
{%- endif %}

say ''
if [ -n "$secret" ]; then say 'The next line holds the SECRET: hand it over as you would a password.'; fi
{%- if exchange %}
say 'The Entra side is done; Exchange is NOT done until every line above ran. The mailboxes open after that.'
say 'Paste this one line into Postroom: postroom setup import -'
{%- else %}
say 'Done. Paste this one line into Postroom: postroom setup import -'
{%- endif %}
printf 'postroom-setup:v2:'
SECRET=$secret jq -cj --arg connection {{ plan.connection }} --arg mark "$mark" --arg tenant "$tenant_id" \
  --arg application "$application_id" --arg object "$object_id" --arg principal "$principal_id" \
  --arg kind {{ plan.key.kind }} --argjson mailboxes {{ mailboxes_json }} \
  --arg api {{ plan.api }} --arg limit {{ plan.limit }} --arg cloud {{ cloud }} --arg authority {{ authority }} --arg graph "$base" \
  '{connection: $connection, mark: $mark, api: $api, limit: $limit, cloud: $cloud, authority: $authority, graph: $graph, tenant_id: $tenant, application_id: $application, object_id: $object,
    principal_id: $principal, kind: $kind, key_id: .keyId, expires_at: .endDateTime, mailboxes: $mailboxes}
   + (if env.SECRET == "" then {} else {secret: env.SECRET} end)' <<<"$key" | base64 | tr -d '\n=' | tr '+/' '-_'
printf '\n'
}
main
