// MSAL for Node, unchanged, against the tenant: each flow, and each wrong credential by its name.
// Reads one JSON object from standard input and writes one; the test around it compares. The tenant's certificate
// is trusted through NODE_EXTRA_CA_CERTS.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const require = createRequire(process.env.XTASK_TOOLS + "/node/");
const msal = require("@azure/msal-node");
const task = JSON.parse(readFileSync(0, "utf8"));
const host = new URL(task.authority).host;
const scopes = ["https://graph.microsoft.com/.default"];

async function inbox(token) {
  const url = `${task.graph}/v1.0/users/${task.mailbox}/mailFolders/inbox`;
  return (await fetch(url, { headers: { authorization: `Bearer ${token}` } })).status;
}

function auth(extra) {
  return { auth: { clientId: task.client_id, authority: task.authority, knownAuthorities: [host], ...extra } };
}

async function confidential(credential) {
  const app = new msal.ConfidentialClientApplication(auth(credential));
  const answer = await app.acquireTokenByClientCredential({ scopes });
  const again = await app.acquireTokenByClientCredential({ scopes });
  return { got_token: true, inbox: await inbox(answer.accessToken), again: again.fromCache ? "cache" : "identity_provider" };
}

async function deviceCode() {
  const app = new msal.PublicClientApplication(auth({ clientId: task.public_client_id }));
  const answer = await app.acquireTokenByDeviceCode({
    scopes: ["https://graph.microsoft.com/User.Read"],
    deviceCodeCallback: async (flow) => {
      const approval = { user_code: flow.userCode, user: task.user, password: task.password };
      const answered = await fetch(`${task.graph}/_sandbox/approve`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(approval),
      });
      if (!answered.ok) throw new Error(`approve: ${answered.status}`);
    },
  });
  return { got_token: Boolean(answer.accessToken) };
}

const flows = {
  secret: () => confidential({ clientSecret: task.secret }),
  certificate: () =>
    confidential({
      clientCertificate: {
        thumbprintSha256: task.thumbprint_sha256,
        privateKey: readFileSync(task.key_file, "ascii"),
      },
    }),
  "device-code": deviceCode,
};

let result;
try {
  result = await flows[task.flow]();
} catch (error) {
  const numbers = [...String(error.message ?? error).matchAll(/AADSTS(\d+)/g)].map((found) => Number(found[1]));
  result = { got_token: false, error: error.errorCode ?? String(error), codes: numbers, words: String(error.message ?? error) };
}
process.stdout.write(JSON.stringify(result));
