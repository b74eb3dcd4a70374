"""Relying parties and an API made of authlib. Reads commands as lines of JSON, and answers each with one."""

import json
import sys
import time
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlparse

from authlib.integrations.base_client import BaseApp, FrameworkIntegration, OAuth2Mixin, OAuthError, OpenIDMixin
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2 import ResourceProtector, rfc9207
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc7662 import IntrospectTokenValidator
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from authlib.oidc import rpinitiated
from authlib.oidc.discovery import OpenIDProviderMetadata
from joserfc.jwk import import_key


class Framework(FrameworkIntegration):
    """Remembers the tokens that a session has got by itself in place of those that ended."""

    updated = None

    def update_token(self, token, refresh_token=None, access_token=None):
        self.updated = {"token": token, "in_place_of": refresh_token}


class App(OAuth2Mixin, OpenIDMixin, BaseApp):
    """What authlib's integrations of web frameworks are made of, without a framework."""

    client_cls = OAuth2Session


class ShortLived(PrivateKeyJWT):
    """Assertions that end soon: authlib's are good for an hour. The claims are new each time, for it writes `jti` into them."""

    def __init__(self, jti=None, **options):
        super().__init__(**options)
        self.jti = jti

    def sign(self, auth, token_endpoint):
        self.claims = {"exp": int(time.time()) + 60, **({"jti": self.jti} if self.jti else {})}
        return super().sign(auth, token_endpoint)


apps = {}
issuer = None


def discover(url):
    """Reads both documents as authlib does. Answers them, and what it finds amiss."""
    global issuer
    issuer = url
    session, amiss, documents = OAuth2Session(), [], []
    for path, kind, more in [
        ("openid-configuration", OpenIDProviderMetadata, [rpinitiated.OpenIDProviderMetadata]),
        ("oauth-authorization-server", AuthorizationServerMetadata, [rfc9207.AuthorizationServerMetadata]),
    ]:
        answer = session.get(f"{url}/.well-known/{path}", withhold_token=True)
        answer.raise_for_status()
        document = answer.json()
        assert document["issuer"] == url, "OpenID Connect Discovery 1.0, section 4.3"
        documents.append(document)
        for one in [kind(document), *[other(document) for other in more]]:
            for key in one.REGISTRY_KEYS:
                try:
                    getattr(one, f"validate_{key}")()
                except ValueError as error:
                    amiss.append(f"{path}: {error}")
    return {"amiss": amiss, "documents": documents}


def make(name, client_id, client_secret=None, method=None, scope=None, key=None, alg=None, jti=None):
    framework = Framework(name)
    options = {"scope": scope, "code_challenge_method": "S256", "token_endpoint_auth_method": method, "revocation_endpoint_auth_method": method}
    apps[name] = App(
        framework,
        name,
        client_id=client_id,
        client_secret=import_key(key) if key else client_secret,
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_kwargs={option: value for option, value in options.items() if value is not None},
        client_auth_methods=[ShortLived(token_endpoint=f"{issuer}/oauth2/token", alg=alg, jti=jti, headers={"kid": key["kid"]} if key else None)],
    )


def begin(name, redirect_uri, **parameters):
    begun = apps[name].create_authorization_url(redirect_uri, **parameters)
    sent = dict(parse_qsl(urlparse(begun["url"]).query))
    assert sent["code_challenge_method"] == "S256" and sent["code_challenge"] != begun["code_verifier"]
    assert sent["nonce"] == begun["nonce"] and sent["state"] == begun["state"]
    return {**begun, "redirect_uri": redirect_uri}


def redeem(name, callback, begun):
    answer = dict(parse_qsl(urlparse(callback).query))
    # RFC 9207, which authlib leaves to whoever uses it.
    assert answer["iss"] == issuer, answer
    if "error" in answer:
        raise OAuthError(error=answer["error"], description=answer.get("error_description"))
    return apps[name].fetch_access_token(begun["redirect_uri"], authorization_response=callback, state=begun["state"], code_verifier=begun["code_verifier"])


def identify(name, token, nonce):
    app = apps[name]
    options = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": app.client_id}}
    return app.parse_id_token(token, nonce=nonce, claims_options=options, leeway=0)


def finish(name, callback, begun):
    token = redeem(name, callback, begun)
    claims = identify(name, token, begun["nonce"])
    assert claims["at_hash"] and claims["nonce"] == begun["nonce"]
    return {"token": token, "claims": claims}


def userinfo(name, token):
    """The session refreshes a token by itself if that has ended."""
    app = apps[name]
    app.framework.updated = None
    return {"claims": app.userinfo(token=token), "updated": app.framework.updated}


def session_of(name):
    app = apps[name]
    metadata = app.load_server_metadata()
    return app._get_oauth_client(**metadata), metadata


def refresh(name, refresh_token, **parameters):
    session, metadata = session_of(name)
    return session.refresh_token(metadata["token_endpoint"], refresh_token=refresh_token, **parameters)


def credentials(name, **parameters):
    return apps[name].fetch_access_token(grant_type="client_credentials", **parameters)


def introspect(name, token, hint=None):
    session, metadata = session_of(name)
    answer = session.introspect_token(metadata["introspection_endpoint"], token=token, token_type_hint=hint)
    answer.raise_for_status()
    return answer.json()


def revoke(name, token, hint=None):
    session, metadata = session_of(name)
    answer = session.revoke_token(metadata["revocation_endpoint"], token=token, token_type_hint=hint)
    answer.raise_for_status()


def logout(name, **parameters):
    return apps[name].create_logout_url(**parameters)


class Local(JWTBearerTokenValidator):
    def get_jwks(self):
        session = OAuth2Session()
        metadata = session.get(f"{issuer}/.well-known/oauth-authorization-server", withhold_token=True).json()
        return session.get(metadata["jwks_uri"], withhold_token=True).json()


class Asking(IntrospectTokenValidator):
    def __init__(self, name):
        super().__init__()
        self.name = name

    def introspect_token(self, token_string):
        return introspect(self.name, token_string)


def protect(token, scopes=None, resource=None, asks=None):
    """An API's own look at the request that a token comes with: at the token itself (RFC 9068), or by asking us."""
    protector = ResourceProtector()
    protector.register_token_validator(Asking(asks) if asks else Local(issuer=issuer, resource_server=resource))
    request = SimpleNamespace(headers={"Authorization": f"Bearer {token}"})
    return protector.validate_request(scopes, request)


COMMANDS = {one.__name__: one for one in [discover, make, begin, redeem, identify, finish, userinfo, refresh, credentials, introspect, revoke, logout, protect]}

for line in sys.stdin:
    command = json.loads(line)
    try:
        reply = {"done": COMMANDS[command.pop("do")](**command)}
    except Exception as error:
        reply = {"failed": {"kind": type(error).__name__, "error": getattr(error, "error", None), "text": str(error)}}
    print(json.dumps(reply), flush=True)
