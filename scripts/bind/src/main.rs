//! `doorward-bind INPUT.wasm DIRECTORY`: writes `index.js` and `index_bg.wasm`, the glue between workerd and the Worker.

use std::error::Error;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(input), Some(directory)) = (args.next(), args.next()) else {
        return Err("usage: doorward-bind INPUT.wasm DIRECTORY".into());
    };
    let mut bindgen = Bindgen::new();
    // A module that imports the compiled wasm, as workerd provides it.
    bindgen.module(true)?;
    // After a panic the instance is unusable: entry.js makes a new one by the function that this adds.
    bindgen.reset_state_function(true).force_enable_abort_handler(true);
    bindgen.typescript(false).demangle(false).input_path(input).out_name("index").generate(directory)?;
    Ok(())
}
