// Doorward with the password hash that the free plan's CPU time allows.

import doorward from "../doorward.mjs";

export default {
  ...doorward,
  name: "free-plan",
  bindings: { ...doorward.bindings, PASSWORD_HASH: "pbkdf2" },
  scenarios: doorward.scenarios.filter(({ name }) => name === "sign-in"),
};
