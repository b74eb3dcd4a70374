export default {
  async fetch(request, env) {
    if (request.url.endsWith("/kv")) return new Response(await env.KV.get("key"));
    if (request.url.endsWith("/d1")) {
      return Response.json(await env.DB.prepare("select value from entry where key = ?1").bind("key").first());
    }
    return new Response("hello");
  },
};
