import { bundle } from "../bundle.mjs";
import { D1, KV } from "../workerd.mjs";

export default {
  name: "JavaScript",
  modules: () => bundle(new URL("../workers/javascript.mjs", import.meta.url)),
  bindings: { DB: D1, KV },
  async seed({ d1, kv }) {
    await d1.batch([
      d1.prepare("create table entry (key text primary key, value text) strict"),
      d1.prepare("insert into entry (key, value) values ('key', 'value')"),
    ]);
    await kv.put("key", "value");
  },
  scenarios: [
    { name: "hello", group: "hello", prepare: () => ({ path: "/" }), answer: /^hello$/ },
    { name: "one KV get", group: "kv", prepare: () => ({ path: "/kv" }), answer: /^value$/ },
    { name: "one D1 query", group: "d1", prepare: () => ({ path: "/d1" }), answer: /^{"value":"value"}$/ },
  ],
};
