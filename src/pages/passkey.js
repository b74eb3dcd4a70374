// Passkeys on the hosted pages: what HTML alone cannot ask for.

const bytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");

async function api(path, body) {
  const init = body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const reply = await fetch(`/api/auth/passkey/${path}`, init);
  const json = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Error(json.message || `Status ${reply.status}`);
  return json;
}

const descriptors = (list = []) => list.map((one) => ({ ...one, id: bytes(one.id) }));

// `PublicKeyCredential.toJSON`, which not every browser has.
const answer = (credential, response) => ({
  id: credential.id,
  rawId: text(credential.rawId),
  type: credential.type,
  clientExtensionResults: credential.getClientExtensionResults(),
  response,
});

async function register(name) {
  const options = await api("generate-register-options");
  const credential = await navigator.credentials.create({
    publicKey: {
      ...options,
      challenge: bytes(options.challenge),
      user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: descriptors(options.excludeCredentials),
    },
  });
  const { attestationObject, clientDataJSON } = credential.response;
  await api("verify-registration", {
    name,
    response: answer(credential, {
      attestationObject: text(attestationObject),
      clientDataJSON: text(clientDataJSON),
      transports: credential.response.getTransports?.() ?? [],
    }),
  });
}

let waiting;

async function signIn(mediation) {
  const options = await api("generate-authenticate-options");
  waiting?.abort();
  waiting = new AbortController();
  const credential = await navigator.credentials.get({
    mediation,
    signal: waiting.signal,
    publicKey: {
      ...options,
      challenge: bytes(options.challenge),
      allowCredentials: descriptors(options.allowCredentials),
    },
  });
  const { authenticatorData, clientDataJSON, signature, userHandle } = credential.response;
  return api("verify-authentication", {
    response: answer(credential, {
      authenticatorData: text(authenticatorData),
      clientDataJSON: text(clientDataJSON),
      signature: text(signature),
      userHandle: userHandle ? text(userHandle) : undefined,
    }),
  });
}

function tell(problem) {
  // Whoever closes the browser's own dialogue knows that they did.
  if (problem.name === "NotAllowedError" || problem.name === "AbortError") return;
  const place = document.querySelector("[data-problem]");
  place.textContent = problem.message;
  place.hidden = false;
}

function go(answer, target) {
  location.assign(answer.twoFactorRedirect ? `/second-factor?continue=${encodeURIComponent(target)}` : target);
}

if (window.PublicKeyCredential) {
  for (const place of document.querySelectorAll("[data-passkey]")) place.hidden = false;
  const button = document.querySelector("button[data-sign-in]");
  if (button) {
    const target = button.dataset.signIn;
    button.addEventListener("click", () => signIn().then((answer) => go(answer, target), tell));
    // The browser offers passkeys where it offers passwords, and nobody has to ask.
    PublicKeyCredential.isConditionalMediationAvailable?.()
      .then((available) => available && signIn("conditional").then((answer) => go(answer, target)))
      .catch(tell);
  }
  const form = document.querySelector("form[data-register]");
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    register(form.elements.name.value || undefined).then(() => location.reload(), tell);
  });
}
