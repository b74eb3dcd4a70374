import { oauthProvider } from "@better-auth/oauth-provider";
import { options } from "./better-auth-options.mjs";

// As a provider. Its resources are seeded: a Worker that named them would read the database while it starts.
export const withProvider = (more) => ({
  ...options,
  plugins: [
    ...options.plugins,
    oauthProvider({
      loginPage: "/login",
      consentPage: "/consent",
      scopes: ["openid", "profile", "email", "offline_access", "reports"],
      // Any client may ask for any resource.
      enforcePerClientResources: false,
      codeExpiresIn: 86_400,
      ...more,
    }),
  ],
});
