//! Values as lines of text: how protocol 0 writes them.

use super::value::Value;

/// INT: a whole number, or `00` and `01` for truth values. `None` if it is none of 64 bits.
pub(super) fn int(line: &str) -> Option<Value> {
    match line {
        "00" => Some(Value::Bool(false)),
        "01" => Some(Value::Bool(true)),
        _ => line.trim().parse().ok().map(Value::Int),
    }
}

/// LONG: a whole number with an L behind it.
pub(super) fn long(line: &str) -> Option<Value> {
    let digits = line.strip_suffix('L').unwrap_or(line);
    digits.trim().parse().ok().map(Value::Int)
}

/// FLOAT: a number, `inf` or `nan`.
pub(super) fn float(line: &str) -> Option<Value> {
    line.trim().parse().ok().map(Value::Float)
}

/// UNICODE: a byte is the character of its number, `\uXXXX` and `\UXXXXXXXX` are any other.
pub(super) fn unicode(mut line: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(line.len());
    while let Some((&byte, rest)) = line.split_first() {
        line = rest;
        if byte != b'\\' {
            text.push(char::from(byte));
            continue;
        }
        let (&kind, rest) = line.split_first()?;
        let digits = match kind {
            b'u' => 4,
            b'U' => 8,
            _ => return None,
        };
        let (number, rest) = hexadecimal(rest, digits)?;
        text.push(char::from_u32(number)?);
        line = rest;
    }
    Some(text)
}

/// STRING: bytes as Python 2 writes them in its programs, with quotes around and escapes.
pub(super) fn string(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.trim_ascii();
    let (&quote, rest) = line.split_first()?;
    let (&closing, mut rest) = rest.split_last()?;
    if quote != closing || !b"'\"".contains(&quote) {
        return None;
    }
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (&kind, after) = rest.split_first()?;
        rest = after;
        bytes.push(match kind {
            b'\\' | b'\'' | b'"' => kind,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let (number, after) = hexadecimal(rest, 2)?;
                rest = after;
                number as u8
            }
            _ => return None,
        });
    }
    Some(bytes)
}

/// A number of so many hexadecimal digits, and what follows it.
fn hexadecimal(text: &[u8], digits: usize) -> Option<(u32, &[u8])> {
    let (number, rest) = text.split_at_checked(digits)?;
    if !number.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let number = std::str::from_utf8(number).ok()?;
    Some((u32::from_str_radix(number, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert!(matches!(int("01"), Some(Value::Bool(true))));
        assert!(matches!(int("00"), Some(Value::Bool(false))));
        assert!(matches!(int("1"), Some(Value::Int(1))));
        assert!(matches!(
            int("-9223372036854775808"),
            Some(Value::Int(i64::MIN))
        ));
        assert!(matches!(
            long("1099511627776L"),
            Some(Value::Int(0x100_0000_0000))
        ));
        assert!(matches!(float("1e+16"), Some(Value::Float(1e16))));
        assert!(matches!(
            float("-inf"),
            Some(Value::Float(f64::NEG_INFINITY))
        ));
        for wrong in ["", "x", "9223372036854775808", "1.5", "1L"] {
            assert!(int(wrong).is_none(), "{wrong}");
        }
        assert!(long("LL").is_none() && long("").is_none() && float("1,5").is_none());
    }

    #[test]
    fn texts() {
        assert_eq!(
            unicode(b"a\xe9\\u000a\\u005c\\U0001f600").unwrap(),
            "aé\n\\😀"
        );
        for wrong in [
            &b"\\"[..],
            b"\\n",
            b"\\u12",
            b"\\u+123",
            b"\\ud800",
            b"\\U00110000",
        ] {
            assert!(unicode(wrong).is_none(), "{wrong:?}");
        }
        assert_eq!(string(br#"'a\x00\n\\"\''"#).unwrap(), b"a\0\n\\\"'");
        assert_eq!(string(b"\"it's\"").unwrap(), b"it's");
        for wrong in [&b""[..], b"'", b"'a\"", b"a", b"'\\'", b"'\\x4'", b"'\\q'"] {
            assert!(string(wrong).is_none(), "{wrong:?}");
        }
    }
}
