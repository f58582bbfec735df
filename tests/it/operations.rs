//! Each operation as it should go.

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn what_is_put_comes_back() {
    let world = world().await;
    for size in [1, 100, 65_536, 65_537, 262_144, 1_000_000] {
        let data = content(size);
        let path = format!("dir/file {size}.bin");
        let entry = world.put(&path, &data).await.unwrap();
        assert_eq!(
            (entry.path.as_str(), entry.size),
            (path.as_str(), Some(size as i64))
        );
        assert_eq!(entry.checksums[0].hex, whirlpool(&data));
        let back = world.get(&path).await.unwrap();
        assert!(back.content == data);
        assert!(back.trailer.verified);
        assert_eq!(back.trailer.checksums, entry.checksums);
        assert_eq!(back.header.entry.unwrap(), entry);
    }
    assert_eq!(world.names("", true).await.len(), 7);
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn large_files_stream_through_and_unknown_sizes_are_buffered() {
    let world = world().await;
    let data = content(20 << 20);
    let known = world.put("known.bin", &data).await.unwrap();
    let unknown = put(&world.client, header("unknown.bin"), &data)
        .await
        .unwrap();
    assert_eq!(known.checksums, unknown.checksums);
    assert!(world.get("known.bin").await.unwrap().content == data);
    assert!(world.get("unknown.bin").await.unwrap().content == data);
}
