"""MSAL for Python, unchanged, against the tenant: each flow, and each wrong credential by its name.

Reads one JSON object from standard input and writes one; the test around it compares.
"""

import json
import sys

import msal
import requests

task = json.load(sys.stdin)
common = {"authority": task["authority"], "instance_discovery": False, "verify": task["ca_file"]}
scope = ["https://graph.microsoft.com/.default"]


def brief(answer):
    """What the test compares: never a token."""
    return {
        "got_token": "access_token" in answer,
        "source": answer.get("token_source"),
        "error": answer.get("error"),
        "codes": answer.get("error_codes"),
    }


def inbox(token):
    """Opens a mailbox with the token."""
    url = f"{task['graph']}/v1.0/users/{task['mailbox']}/mailFolders/inbox"
    return requests.get(url, headers={"Authorization": f"Bearer {token}"}, verify=task["ca_file"], timeout=30).status_code


def confidential(credential):
    app = msal.ConfidentialClientApplication(task["client_id"], client_credential=credential, **common)
    answer = app.acquire_token_for_client(scopes=scope)
    result = brief(answer)
    if "access_token" in answer:
        result["inbox"] = inbox(answer["access_token"])
        result["again"] = app.acquire_token_for_client(scopes=scope).get("token_source")
    return result


def certificate():
    with open(task["key_file"], encoding="ascii") as key, open(task["certificate_file"], encoding="ascii") as public:
        return {"private_key": key.read(), "public_certificate": public.read()}


def device_code():
    app = msal.PublicClientApplication(task["public_client_id"], **common)
    flow = app.initiate_device_flow(scopes=["https://graph.microsoft.com/User.Read"])
    if "user_code" not in flow:
        return brief(flow)
    approval = {"user_code": flow["user_code"], "user": task["user"], "password": task["password"]}
    answered = requests.post(f"{task['graph']}/_sandbox/approve", json=approval, verify=task["ca_file"], timeout=30)
    answered.raise_for_status()
    return brief(app.acquire_token_by_device_flow(flow))


FLOWS = {
    "secret": lambda: confidential(task["secret"]),
    "certificate": lambda: confidential(certificate()),
    "device-code": device_code,
}
json.dump(FLOWS[task["flow"]](), sys.stdout)
