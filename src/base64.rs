//! Base64: the standard alphabet (RFC 4648 §4), and that for URLs.

/// Decodes `text`, with or without its padding. `None`: not base64.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let data = text.trim_end_matches('=');
    let padding = text.len() - data.len();
    if data.len() % 4 == 1 || padding > 0 && (padding > 2 || !text.len().is_multiple_of(4)) {
        return None;
    }
    let mut bytes = Vec::with_capacity(data.len() / 4 * 3 + 2);
    for group in data.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for &character in group {
            bits = bits << 6 | value(character)?;
        }
        bits <<= 6 * (4 - group.len());
        let [_, first, second, third] = bits.to_be_bytes();
        bytes.extend_from_slice(&[first, second, third][..group.len() - 1]);
    }
    Some(bytes)
}

/// Encodes `bytes`, with padding.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            // One byte makes two characters, two make three.
            match at <= group.len() {
                true => text.push(char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize])),
                false => text.push('='),
            }
        }
    }
    text
}

/// Encodes `bytes` in the alphabet for URLs (RFC 4648 §5), without padding, as JSON Web Signatures write them.
pub fn encode_url(bytes: &[u8]) -> String {
    let in_urls = |character| match character {
        '+' => '-',
        '/' => '_',
        other => other,
    };
    let text = encode(bytes);
    text.trim_end_matches('=').chars().map(in_urls).collect()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn value(character: u8) -> Option<u32> {
    Some(match character {
        b'A'..=b'Z' => u32::from(character - b'A'),
        b'a'..=b'z' => u32::from(character - b'a') + 26,
        b'0'..=b'9' => u32::from(character - b'0') + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let bytes: Vec<u8> = (0..=255).rev().collect();
        for length in 0..bytes.len() {
            assert_eq!(
                decode(&encode(&bytes[..length])).as_deref(),
                Some(&bytes[..length])
            );
        }
    }

    #[test]
    fn the_alphabet_for_urls() {
        assert_eq!(encode_url(&[0xfb, 0xff]), "-_8");
        assert_eq!(encode_url(b""), "");
    }

    #[test]
    fn vectors_of_rfc_4648() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zg", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()), "{text}");
            let padded = format!(
                "{text}{}",
                "=".repeat(text.len().next_multiple_of(4) - text.len())
            );
            assert_eq!(encode(bytes.as_bytes()), padded);
        }
        for bad in [
            "Z", "Zg=", "Zg===", "=", "Zm9v=", "Zm9v====", "Z!==", "Zm 9", "Zm9vY",
        ] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
