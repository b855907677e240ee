//! An egress proxy: CONNECT for https, absolute URLs for http, and a table of hosts that only it knows.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Background;
use super::wire::read_request;

/// A running proxy on 127.0.0.1.
///
/// Since it resolves names itself, it lets a test reach a fake upstream under any public-looking name.
pub(crate) struct FakeProxy {
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    _runtime: Background,
}

impl FakeProxy {
    /// Starts a proxy that knows these `host:port` names; everything else is answered 502.
    pub(crate) fn run(hosts: &[(&str, SocketAddr)]) -> Self {
        let hosts: BTreeMap<String, SocketAddr> = hosts
            .iter()
            .map(|&(host, address)| (host.to_owned(), address))
            .collect();
        let runtime = Background::new();
        let listener = runtime
            .wait_for(TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let log = Arc::new(Mutex::new(Vec::new()));
        runtime.spawn(accept(listener, Arc::new(hosts), Arc::clone(&log)));
        Self {
            address,
            log,
            _runtime: runtime,
        }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The request lines that came, as `METHOD target`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.log.lock().expect("no panic with it").clone()
    }
}

async fn accept(
    listener: TcpListener,
    hosts: Arc<BTreeMap<String, SocketAddr>>,
    log: Arc<Mutex<Vec<String>>>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&hosts), Arc::clone(&log)));
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one request per connection. `None` ends it.
async fn serve(
    mut client: TcpStream,
    hosts: Arc<BTreeMap<String, SocketAddr>>,
    log: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut buffer = Vec::new();
    let request = read_request(&mut client, &mut buffer).await?;
    let target = match &request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.clone(),
    };
    log.lock()
        .ok()?
        .push(format!("{} {target}", request.method));
    let connect = request.method == "CONNECT";
    let (host, path) = if connect {
        (target.as_str(), "")
    } else {
        let rest = target.strip_prefix("http://")?;
        rest.split_at(rest.find('/').unwrap_or(rest.len()))
    };
    let host = match host.contains(':') {
        true => host.to_owned(),
        false => format!("{host}:80"),
    };
    let Some(address) = hosts.get(&host) else {
        let _ = client
            .write_all(
                b"HTTP/1.1 502 No such host\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            )
            .await;
        return None;
    };
    let mut server = TcpStream::connect(address).await.ok()?;
    if connect {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    } else {
        let mut head = format!("{} {path} HTTP/1.1\r\n", request.method);
        for (name, value) in &request.headers {
            if name != "connection" {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        // One request per connection: the next one may be for another host.
        head.push_str("connection: close\r\n\r\n");
        server.write_all(head.as_bytes()).await.ok()?;
    }
    tokio::io::copy_bidirectional(&mut client, &mut server)
        .await
        .ok()?;
    None
}
