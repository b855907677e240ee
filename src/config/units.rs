//! Units as operators write them: durations, sizes, rates, shares, addresses.
//!
//! Every function returns the value, or how to write one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::ListenAddress;

/// `30s`, `5m`, `24h`, `7d`, `500ms`, `1h30m`. A bare number is refused: seconds or minutes?
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const HINT: &str =
        "write a duration with its unit, such as `500ms`, `30s`, `5m`, `1h30m`, `24h` or `7d`";
    let hint = || HINT.to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or_else(hint)?;
        let unit_end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(hint()),
        };
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| hint())?;
        total = total.checked_add(part).ok_or_else(hint)?;
        rest = after;
    }
    // A century is not a wait but a slip of the unit, and later sums of times must not overflow.
    if text.is_empty() || total > Duration::from_hours(24 * 365 * 100) {
        return Err(hint());
    }
    Ok(total)
}

/// `512KiB`, `20MiB`, `50GiB`, `1GB`, `1.5TiB`, `20Mi`, or plain bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let hint =
        || "write a size such as `512KiB`, `20MiB`, `50GiB`, `1GB` or plain bytes".to_owned();
    let (number, unit) = split_number(text).ok_or_else(hint)?;
    let factor: f64 = match unit.trim_start() {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" | "Ki" => 1024.0,
        "MiB" | "Mi" => 1_048_576.0,
        "GiB" | "Gi" => 1_073_741_824.0,
        "TiB" | "Ti" => 1_099_511_627_776.0,
        _ => return Err(hint()),
    };
    let bytes = number * factor;
    // Above 2^53 a float no longer counts single bytes; 8 PiB is beyond every disk this runs on.
    if bytes > 9_007_199_254_740_992.0 {
        return Err(hint());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 2^53, checked above"
    )]
    Ok(bytes.round() as u64)
}

/// `100/s`, `6000/m`, `10/h`, `500/d`: requests and the period they are for.
pub(super) fn rate(text: &str) -> Result<(u32, Duration), String> {
    let hint = || "write a rate such as `100/s`, `6000/m` or `10/h`".to_owned();
    let (count, unit) = text.split_once('/').ok_or_else(hint)?;
    let count: u32 = count.trim().parse().map_err(|_| hint())?;
    if count == 0 {
        return Err(no_rate());
    }
    Ok((count, period(unit).ok_or_else(hint)?))
}

/// `1GiB/h`: bytes and the period they are for.
pub(super) fn size_rate(text: &str) -> Result<(u64, Duration), String> {
    let hint = || "write a rate such as `50MiB/s` or `1GiB/h`".to_owned();
    let (bytes, unit) = text.split_once('/').ok_or_else(hint)?;
    let bytes = size(bytes.trim()).map_err(|_| hint())?;
    if bytes == 0 {
        return Err(no_rate());
    }
    Ok((bytes, period(unit).ok_or_else(hint)?))
}

fn no_rate() -> String {
    "a rate of zero would refuse every request; leave `limits` out for no limit, or take the permission away under `access`".into()
}

fn period(unit: &str) -> Option<Duration> {
    let seconds = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

/// `100/6h`, `5000/h`, `10/1m30s`: a number of something and the period that it is for.
pub(super) fn per_period(text: &str) -> Result<(u32, Duration), String> {
    let hint = || "write a number and its period, such as `100/6h`, `5000/h` or `10/s`".to_owned();
    let (count, period) = text.split_once('/').ok_or_else(hint)?;
    let count: u32 = count.trim().parse().map_err(|_| hint())?;
    let period = period.trim();
    let period = match period.starts_with(|c: char| c.is_ascii_digit()) {
        true => duration(period),
        false => duration(&format!("1{period}")),
    };
    let period = period.map_err(|_| hint())?;
    if count == 0 || period < Duration::from_secs(1) {
        return Err(hint());
    }
    Ok((count, period))
}

/// `50%` as 0.5.
pub(super) fn share(text: &str) -> Result<f64, String> {
    text.strip_suffix('%')
        .and_then(|number| split_number(number.trim_end()))
        .filter(|(percent, rest)| rest.is_empty() && *percent <= 100.0)
        .map(|(percent, _)| percent / 100.0)
        .ok_or_else(|| "write a percentage from `0%` to `100%`".into())
}

/// `true` or `false`, and the other words of YAML 1.1.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "on" | "On" => Ok(true),
        "false" | "False" | "FALSE" | "no" | "No" | "off" | "Off" => Ok(false),
        _ => Err("write `true` or `false`".into()),
    }
}

/// `127.0.0.1:8080`, `[::]:8080`, `:8080` (every address), `localhost:8080`, `unix:/path`.
pub(super) fn listen_address(text: &str) -> Result<ListenAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        if !path.starts_with('/') {
            return Err("write a Unix socket as `unix:/absolute/path`".into());
        }
        // sockaddr_un holds 108 bytes with the final NUL.
        if path.len() > 107 {
            return Err("the path of a Unix socket has at most 107 bytes".into());
        }
        return Ok(ListenAddress::Unix(PathBuf::from(path)));
    }
    socket_address(text).map(ListenAddress::Tcp)
}

/// As [`listen_address`], TCP only.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let hint = || "write an address such as `127.0.0.1:8080`, `0.0.0.0:8080` or `[::]:8080`";
    let (host, port) = text.rsplit_once(':').ok_or_else(hint)?;
    let port: u16 = port.parse().map_err(|_| hint())?;
    match host {
        // As nginx and Go programs read it: every address of the machine.
        "" | "*" => Ok(SocketAddr::from(([0, 0, 0, 0], port))),
        "localhost" => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        _ => Err(hint().into()),
    }
}

/// `https://charts.example.com/path`: an address for others to build on, so without user, query and fragment.
pub(super) fn plain_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if plain {
        Ok(url)
    } else {
        Err("write an http or https URL without user, query and fragment, such as `https://charts.example.com`".into())
    }
}

/// A leading decimal number without sign or exponent, and what follows it.
fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("1.5s", 1_500),
            ("7d", 604_800_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in [
            "",
            "5",
            "5 minutes",
            "-5s",
            "s",
            "5x",
            "1e3s",
            "99999999999d",
            "5s5",
            ".5s",
            "1.2.3s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("512KiB", 512 << 10),
            ("20MiB", 20 << 20),
            ("50GiB", 50 << 30),
            ("1GB", 1_000_000_000),
            ("1.5 GiB", 3 << 29),
            ("20Mi", 20 << 20),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "-1", "20M", "MiB", "1e9", "1 2", "99999999TiB", "20mb"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_and_shares() {
        assert_eq!(rate("100/s"), Ok((100, Duration::from_secs(1))));
        assert_eq!(rate("6000/m"), Ok((6000, Duration::from_mins(1))));
        assert_eq!(rate("10/h"), Ok((10, Duration::from_hours(1))));
        for bad in ["100", "0/s", "1.5/s", "-1/s", "1/week", "/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert_eq!(per_period("100/6h"), Ok((100, Duration::from_hours(6))));
        assert_eq!(per_period("5000/h"), Ok((5000, Duration::from_hours(1))));
        assert_eq!(per_period("10 / 1m30s"), Ok((10, Duration::from_secs(90))));
        for bad in ["100", "0/h", "-1/h", "1/", "1/week", "1/500ms", "1/0"] {
            assert!(per_period(bad).is_err(), "{bad}");
        }
        assert_eq!(share("50%"), Ok(0.5));
        assert_eq!(share("100%"), Ok(1.0));
        for bad in ["50", "0.5", "101%", "-1%", "%", "5%%"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses() {
        let tcp = |text: &str| ListenAddress::Tcp(text.parse().expect("address"));
        assert_eq!(listen_address("127.0.0.1:0"), Ok(tcp("127.0.0.1:0")));
        assert_eq!(listen_address("[::1]:80"), Ok(tcp("[::1]:80")));
        assert_eq!(listen_address(":8080"), Ok(tcp("0.0.0.0:8080")));
        assert_eq!(listen_address("localhost:1"), Ok(tcp("127.0.0.1:1")));
        assert_eq!(
            listen_address("unix:/run/x.sock"),
            Ok(ListenAddress::Unix("/run/x.sock".into()))
        );
        for bad in [
            "",
            "8080",
            "127.0.0.1",
            "127.0.0.1:99999",
            "unix:x",
            "http://127.0.0.1:80",
            "a b:1",
        ] {
            assert!(listen_address(bad).is_err(), "{bad}");
        }
    }
}
