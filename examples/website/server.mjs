// A website behind the gate. It has no login of its own: it reads the signed statement that the gate adds to each
// request. Run as `node server.mjs`; PORT and AUTH_ORIGIN are settings.

import http from "node:http";
import { createRemoteJWKSet, jwtVerify } from "jose";

const PORT = Number(process.env.PORT ?? 8788);
const AUTH_ORIGIN = process.env.AUTH_ORIGIN ?? "http://localhost:8787";
const AUDIENCE = process.env.AUDIENCE ?? "app.localhost";
const keys = createRemoteJWKSet(new URL("/api/auth/jwks", AUTH_ORIGIN));

/** Who asks. The plain X-Doorward-* headers say the same; the assertion proves it. */
async function visitor(request) {
  const assertion = request.headers["x-doorward-assertion"];
  if (!assertion) return undefined;
  const { payload } = await jwtVerify(assertion, keys, { issuer: AUTH_ORIGIN, audience: AUDIENCE, algorithms: ["ES256"], typ: "JWT" });
  return payload;
}

const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const STYLE = `body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem;color:#1b1f24}
nav a{margin-right:1rem}dl{display:grid;grid-template-columns:auto 1fr;gap:.2rem 1rem}dt{color:#57606a}dd{margin:0}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}a{color:#8ab4f8}}`;

function page(request, who) {
  const path = new URL(request.url, "http://x").pathname;
  const facts = who
    ? `<p id="who">Hello, <strong>${escape(who.name || who.email)}</strong>.</p>
       <dl><dt>User</dt><dd>${escape(who.sub)}</dd><dt>E-mail</dt><dd id="email">${escape(who.email)}</dd>
       <dt>Tenant</dt><dd>${escape(who.tenant)}</dd><dt>Roles</dt><dd id="roles">${escape(who.roles.join(", "))}</dd></dl>`
    : `<p id="who">Nobody is signed in; this page is public.</p>`;
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
    <title>Demo website</title><style>${STYLE}</style><h1>Demo website</h1><p>You see <code>${escape(request.url)}</code>.</p>${facts}
    <nav><a href="/">Start</a><a href="/public/about">Public</a><a href="/admin">Administrators</a><a href="/internal">Denied</a>
    <a href="/.doorward/sign-out">Sign out</a></nav>${path === "/admin" ? "<p id=admin>For administrators only.</p>" : ""}</html>`;
}

const server = http.createServer(async (request, response) => {
  try {
    const html = page(request, await visitor(request));
    response.writeHead(200, { "content-type": "text/html; charset=utf-8", "cache-control": "no-store" }).end(html);
  } catch (error) {
    response.writeHead(401, { "content-type": "text/plain" }).end(`The assertion does not hold: ${error.message}\n`);
  }
});

server.listen(PORT, "127.0.0.1", () => console.log(`website on http://127.0.0.1:${server.address().port}`));
