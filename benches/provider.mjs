// The scenarios of an OpenID Provider, the same for everybody's.

import { createHash } from "node:crypto";

const REDIRECT = "https://client.example/callback";
export const RESOURCE = "https://api.example/";
// For the user's tokens, and for the client's own.
const SCOPE = "openid profile email offline_access";
const OWN_SCOPE = "reports";
const VERIFIER = "a verifier of 43 characters, or of some more".replace(/[^a-z0-9]/g, "-");
const CHALLENGE = createHash("sha256").update(VERIFIER).digest("base64url");
const JWT = /^ey[\w-]+\.[\w-]+\.[\w-]+$/;
const AUTHORISERS = 8;

export const EMAIL = "provider@example.com";

// The client, by the names of RFC 7591. It is the provider's own: nobody is asked to agree.
export const METADATA = {
  client_name: "Bench",
  redirect_uris: [REDIRECT],
  grant_types: ["authorization_code", "refresh_token", "client_credentials"],
  response_types: ["code"],
  token_endpoint_auth_method: "client_secret_basic",
  scope: `${SCOPE} ${OWN_SCOPE}`,
};

// A client of a provider, and the browser of its user. `paths` are the provider's endpoints. With `anew` each code is of
// another browser.
export class RelyingParty {
  #browser;
  #anew;
  #host;
  #paths;
  #authorization;

  constructor({ browser, anew = false, host, paths, id, secret }) {
    this.#browser = browser;
    this.#anew = anew;
    this.#host = host;
    this.#paths = paths;
    this.#authorization = `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`;
    this.id = id;
  }

  #form(path, parameters) {
    const headers = { "content-type": "application/x-www-form-urlencoded", authorization: this.#authorization };
    return { method: "POST", host: this.#host, path, headers, body: new URLSearchParams(parameters).toString() };
  }

  // Opens the authorization endpoint and follows the provider's own redirects, until the one that leads to the client.
  async code(resource) {
    const query = new URLSearchParams({
      response_type: "code",
      client_id: this.id,
      redirect_uri: REDIRECT,
      scope: SCOPE,
      state: "a state",
      nonce: "a nonce",
      code_challenge: CHALLENGE,
      code_challenge_method: "S256",
      ...resource,
    });
    const browser = this.#anew ? this.#browser.another() : this.#browser;
    let url = new URL(`http://${this.#host}${this.#paths.authorize}?${query}`);
    for (let step = 0; step < 10; step += 1) {
      const headers = { accept: "text/html", "sec-fetch-mode": "navigate" };
      const answer = await browser.send({ host: url.host, path: url.pathname + url.search, headers });
      if (!answer.headers.location) throw new Error(`${url.pathname} answered ${answer.status}: ${answer.body.slice(0, 300)}`);
      url = new URL(answer.headers.location, url);
      if (!url.href.startsWith(REDIRECT)) continue;
      const code = url.searchParams.get("code");
      if (!code) throw new Error(`no code: ${url.href}`);
      return code;
    }
    throw new Error("the authorization endpoint redirects without end");
  }

  async codes(count, resource) {
    const codes = [];
    let begun = 0;
    const authorise = async () => {
      while (begun++ < count) codes.push(await this.code(resource));
    };
    await Promise.all(Array.from({ length: AUTHORISERS }, authorise));
    return codes;
  }

  byCode(code, resource) {
    return this.#form(this.#paths.token, {
      grant_type: "authorization_code",
      code,
      redirect_uri: REDIRECT,
      code_verifier: VERIFIER,
      ...resource,
    });
  }

  byRefreshToken(token, resource) {
    return this.#form(this.#paths.token, { grant_type: "refresh_token", refresh_token: token, ...resource });
  }

  byCredentials(resource) {
    return this.#form(this.#paths.token, { grant_type: "client_credentials", scope: OWN_SCOPE, ...resource });
  }

  userinfo(token) {
    return { host: this.#host, path: this.#paths.userinfo, headers: { authorization: `Bearer ${token}` } };
  }

  introspection(token) {
    return this.#form(this.#paths.introspect, { token });
  }

  // The answer to a code. The client has no cookies.
  async tokens(resource) {
    const answer = await this.#browser.another().send(this.byCode(await this.code(resource), resource));
    if (answer.status !== 200) throw new Error(`${this.#paths.token} answered ${answer.status}: ${answer.body}`);
    return JSON.parse(answer.body);
  }
}

// `enter(client, context)` answers the relying party that the scenarios are of, signed in. Access tokens are for a resource,
// and JWTs. Those that the provider itself is asked about are as it gives them when no resource is named: Doorward a JWT,
// the others an opaque one (oidc-provider takes no JWT of its own there).
export function providerScenarios(enter) {
  let entered;
  const once = (prepare) => async (client, context) => prepare(await (entered ??= enter(client, context)));
  const resource = { resource: RESOURCE };
  const answer = { access_token: JWT, token_type: /^bearer$/i, expires_in: /^\d+$/ };
  const about = (request) => (party) => {
    let token;
    return {
      stock: async () => ({ access_token: token } = await party.tokens()),
      make: () => request(party, token),
    };
  };
  return [
    {
      name: "token by code",
      group: "code",
      prepare: once((party) => {
        const codes = [];
        return {
          stock: async (count) => codes.push(...(await party.codes(count, resource))),
          make: () => party.byCode(codes.pop(), resource),
        };
      }),
      answer: { ...answer, id_token: JWT, refresh_token: /./ },
    },
    {
      // Each lane is a chain: the next request comes with the last one's refresh token.
      name: "token by refresh token",
      group: "refresh token",
      prepare: once((party) => {
        const newest = [];
        return {
          stock: async (_, lanes) => {
            for (let lane = 0; lane < lanes; lane += 1) newest[lane] = (await party.tokens(resource)).refresh_token;
          },
          make: (_, lane) => party.byRefreshToken(newest[lane], resource),
          took({ body }, lane) {
            const next = JSON.parse(body).refresh_token;
            if (next === newest[lane]) throw new Error("a refresh token was not rotated");
            newest[lane] = next;
          },
        };
      }),
      answer: { ...answer, id_token: JWT, refresh_token: /./ },
    },
    {
      name: "token by client credentials",
      group: "client credentials",
      prepare: once((party) => party.byCredentials(resource)),
      answer: { ...answer, scope: /^reports$/ },
    },
    {
      name: "userinfo",
      group: "userinfo",
      prepare: once(about((party, token) => party.userinfo(token))),
      answer: { sub: /./, email: /^provider@example\.com$/, name: /^Bench$/ },
    },
    {
      name: "introspection",
      group: "introspection",
      prepare: once(about((party, token) => party.introspection(token))),
      answer: { active: /^true$/, sub: /./, client_id: /./, scope: /\bopenid\b/, exp: /^\d+$/, iss: /^http:\/\/auth\.localhost/ },
    },
  ];
}
