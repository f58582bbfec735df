use super::*;

#[tokio::test(start_paused = true)]
async fn a_read_only_client_only_reads() {
    // Nobody listens there: what is sent fails in another way.
    let hosts = Hosts::new("http://127.0.0.1:1/v1").unwrap();
    let key = ApiKey::new("key").unwrap();
    let client = Client::new(hosts, key, Limits::none()).unwrap();
    let client = client.read_only();
    let scope = Scope::new(Priority::Read);
    let urls = ["https://1fichier.com/?abcde".to_owned()];
    let url = urls[0].as_str();
    let password = Password::new(["secret".to_owned()]);
    let refused = |kind: Kind, what: &str| assert_eq!(kind, Kind::ReadOnly, "{what}");
    macro_rules! refused {
        ($call:expr) => {
            refused(
                $call.await.map(|_| ()).unwrap_err().kind(),
                stringify!($call),
            )
        };
    }
    refused!(client.make_folder(scope, ROOT, "x"));
    refused!(client.remove_folder(scope, 7));
    refused!(client.move_folder(scope, 7, 8, None));
    refused!(client.remove_files(scope, &urls));
    refused!(client.move_files(scope, &urls, 7, None));
    refused!(client.copy_files(scope, &urls, 7, None));
    refused!(client.copy_protected(scope, url, 7, None, &password));
    refused!(client.rename_files(scope, &[(url.to_owned(), "x".to_owned())]));
    refused!(client.move_folder(scope, 7, 8, None));
    refused!(client.protect_file(scope, url, &password));
    refused!(client.share_folder(scope, 7, None));
    refused!(client.unshare_folder(scope, 7));
    refused!(client.upload_node(scope));
    refused!(client.turn(scope, "file/rm"));
    let read = client.file_exists(scope, url).await.unwrap_err();
    assert_eq!(read.kind(), Kind::NotSent, "a question is asked");
    let error: crate::error::Error = client.remove_folder(scope, 7).await.unwrap_err().into();
    assert_eq!(error.reason(), crate::error::Reason::ReadOnly);
}
