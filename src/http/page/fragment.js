// A website sends its visitor here by redirects, and browsers keep what stands after "#" in an address across redirects. No server
// sees it. It goes on with the way back, so that the visitor ends at the place in the website that was asked for.

const LONGEST = 8000;
// A backslash would make the way back one that is not trusted.
const fragment = location.hash.replaceAll("\\", "%5C");

function withFragment(target) {
  const leadsToWebsite = target.startsWith("/gate/sign-in?") && !target.includes("#");
  return leadsToWebsite && target.length + fragment.length <= LONGEST ? target + fragment : target;
}

if (fragment.length > 1) {
  for (const field of document.querySelectorAll("input[name=continue]")) field.value = withFragment(field.value);
  for (const button of document.querySelectorAll("[data-sign-in]")) button.dataset.signIn = withFragment(button.dataset.signIn);
  // From the page of sign-in to that of sign-up, and back.
  for (const link of document.querySelectorAll('a[href^="/sign-up?"], a[href^="/login?"]')) link.hash = fragment;
}
