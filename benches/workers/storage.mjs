// Stands before the simulators of D1 and KV and counts each namespace's round trips.

const counts = {};

export default {
  async fetch(request, env) {
    const kind = request.headers.get("Bench-Storage");
    if (kind === null) return Response.json(counts);
    const count = (counts[request.headers.get("MF-Namespace")] ??= { d1: 0, kv: 0 });
    count[kind] += 1;
    return env[kind].fetch(request);
  },
};
