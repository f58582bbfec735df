//! Compiles the contract without protoc.

use std::path::PathBuf;

use prost::Message;

const PROTOS: [&str; 3] = [
    "pluton/storage/v1/error.proto",
    "pluton/storage/v1/types.proto",
    "pluton/storage/v1/storage.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    // Reflection serves the same descriptors that the code is generated from.
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(out, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Chunk.data stays a reference-counted slice from the socket to 1Fichier.
        .bytes(".")
        // It has a password in it.
        .skip_debug([".pluton.storage.v1.PublicLinkRequest"])
        .compile_fds(descriptors)?;
    Ok(())
}
