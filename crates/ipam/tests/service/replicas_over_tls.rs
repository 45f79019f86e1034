//! Replicas that call one another with certificates.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use galaxy_plane::{Authority, Certified, Subject};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    replicas::{Replica, World, binding},
    site::{POOLS, Site, eventually},
};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A folder for the files of one authority and of one replica; removed at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new(authority: &Authority, name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("galaxy-replicas-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&folder).unwrap();
        let pair = authority.issue(&Subject::new(name, &[name], &[LOCALHOST])).unwrap();
        for (file, text) in
            [("ca.crt", authority.certificate()), ("tls.crt", &pair.certificate), ("tls.key", &pair.key)]
        {
            fs::write(folder.join(file), text).unwrap();
        }
        Folder(folder)
    }

    fn flags(&self) -> Vec<String> {
        let file = |flag: &str, name: &str| format!("--{flag}={}", Path::new(&self.0).join(name).display());
        vec![
            file("tls-cert-file", "tls.crt"),
            file("tls-private-key-file", "tls.key"),
            file("client-ca-file", "ca.crt"),
            "--client-allowed-names=kube-scheduler".to_owned(),
        ]
    }
}

/// The scheduler's way to a replica.
struct Scheduler {
    authority: String,
    certificate: Certified,
}

impl Scheduler {
    /// Status line and body of the answer.
    async fn ask(&self, server: SocketAddr, method: &str, path: &str, body: &Value) -> (String, String) {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(self.certificate.key.as_bytes()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap();
        let stream = TcpStream::connect(server).await.unwrap();
        let mut stream =
            TlsConnector::from(Arc::new(config)).connect(ServerName::from(LOCALHOST), stream).await.unwrap();
        let body = body.to_string();
        let head = "Host: x\r\nConnection: close\r\nContent-Type: application/json";
        let request = format!("{method} {path} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    async fn post(&self, replica: &Replica, path: &str, body: &Value) -> Value {
        let (status, text) = self.ask(replica.running().extender, "POST", path, body).await;
        assert!(status.contains("200"), "{status}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn stands_by(&self, replica: &Replica) {
        let extender = replica.running().extender;
        eventually(true, async || {
            self.ask(extender, "GET", "/readyz", &Value::Null).await.1.contains("ok: standby of")
        })
        .await;
    }
}

#[tokio::test]
async fn a_standby_forwards_with_its_certificate() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubernetes = Site::cluster(Some(POOLS)).await;
    let world = World { client: kubernetes.client("test"), kubernetes };
    let authority = Authority::new("galaxy").unwrap();
    let scheduler = Scheduler {
        authority: authority.certificate().to_owned(),
        certificate: authority.issue(&Subject::new("kube-scheduler", &[], &[])).unwrap(),
    };
    let [first, second] = ["first", "second"].map(|_| Folder::new(&authority, "galaxy-ipam.kube-system.svc"));
    let leader = Replica::start_with(&world.kubernetes, "first", &first.flags()).await;
    eventually(true, async || leader.leads()).await;
    let standby = Replica::start_with(&world.kubernetes, "second", &second.flags()).await;
    scheduler.stands_by(&standby).await;

    let pod = world.pod("web").await;
    let mark = world.kubernetes.calls().mark();
    let filter = json!({"Pod": pod, "NodeNames": ["n1", "n2"]});
    let passed = scheduler.post(&standby, "/v1/filter", &filter).await;
    assert_eq!(passed["NodeNames"], json!(["n1", "n2"]), "{passed}");
    let bound = scheduler.post(&standby, "/v1/bind", &binding(&pod)).await;
    assert_eq!(bound["Error"], "", "{bound}");
    assert_eq!(world.writes("second", mark), Vec::<String>::new());
    assert_eq!(world.writes("first", mark), ["create floatingips/", "create pods/binding"]);

    // One with another name than theirs trusts nobody, and says so.
    let stranger = Folder::new(&authority, "somebody.else.svc");
    let third = Replica::start_with(&world.kubernetes, "third", &stranger.flags()).await;
    let expected = "which does not answer";
    eventually(expected.to_owned(), async || {
        let said = scheduler.ask(third.running().extender, "GET", "/readyz", &Value::Null).await.1;
        if said.contains(expected) && said.contains("certificate") { expected.to_owned() } else { said }
    })
    .await;
}
