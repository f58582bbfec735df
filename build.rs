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
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let generator = || {
        tonic_prost_build::configure()
            // Chunk.data stays a reference-counted slice from the socket to 1Fichier.
            .bytes(".")
            // It has a password in it.
            .skip_debug([".pluton.storage.v1.PublicLinkRequest"])
    };
    // What a server cannot decode is its caller's error, and has the details of one.
    generator()
        .build_client(false)
        .codec_path("crate::grpc::Codec")
        .compile_fds(descriptors.clone())?;
    // What a client cannot decode is not.
    let client = out_dir.join("client");
    std::fs::create_dir_all(&client)?;
    generator()
        .build_server(false)
        .extern_path(".pluton.storage.v1", "crate::proto")
        .out_dir(client)
        .compile_fds(descriptors)?;
    Ok(())
}
