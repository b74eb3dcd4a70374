// The module that workerd loads: hands events to the Worker. A panic leaves the wasm instance unusable, so the next
// event makes a new one first.

import * as worker from "./index.js";

const state = worker.__worker_init_state();

function note(error) {
  if (error instanceof WebAssembly.RuntimeError) {
    console.error("The Worker panicked; the next request starts it anew.", error);
    state.criticalError = true;
  }
}

// A panic inside a callback reaches nobody who awaits it.
addEventListener("error", (event) => note(event.error));

function handing(handler) {
  return async (event, env, context) => {
    if (state.criticalError) {
      worker.__wbg_reset_state();
      state.criticalError = false;
      state.instanceId += 1;
    }
    try {
      return await handler(event, env, context);
    } catch (error) {
      note(error);
      throw error;
    }
  };
}

const handlers = ["fetch", "scheduled"].filter((name) => name in worker).map((name) => [name, handing(worker[name])]);

export default Object.fromEntries(handlers);
