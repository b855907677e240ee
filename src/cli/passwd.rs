//! `chartgate passwd USER`: an htpasswd line.

use std::io::{self, BufRead, IsTerminal as _, Read as _, Write as _};

use console::Term;

use super::args::Passwd;
use crate::auth;
use crate::error::{Error, Result};

/// Reads the password from the terminal without echo, or from the first line of stdin, and prints
/// `USER:<bcrypt hash>` to stdout.
///
/// Errors: a name that htpasswd cannot hold, a password that bcrypt cannot, two different answers, no input.
pub fn run(arguments: &Passwd) -> Result<()> {
    // The name is checked before anybody types a password for it.
    auth::check_user_name(&arguments.user)?;
    let password = if io::stdin().is_terminal() {
        ask(&Term::stderr(), &arguments.user)?
    } else {
        first_line(&mut io::stdin().lock())?
    };
    let line = auth::bcrypt_line(&arguments.user, &password)?;
    writeln!(io::stdout(), "{line}")
        .map_err(|error| Error::internal("the line could not be written", error))
}

fn ask(terminal: &Term, user: &str) -> Result<String> {
    if !terminal.is_term() {
        return Err(Error::invalid(
            "there is no terminal to ask for the password on; pipe it to standard input",
        ));
    }
    let read = |prompt: String| {
        terminal
            .write_str(&prompt)
            .and_then(|()| terminal.read_secure_line())
            .map_err(|error| Error::internal("the password could not be read", error))
    };
    let password = read(format!("Password for {user}: "))?;
    let again = read("The same again: ".to_owned())?;
    if password == again {
        Ok(password)
    } else {
        Err(Error::invalid("the two passwords differ; try again"))
    }
}

/// Without its line end. Only so much is read as a password can have.
fn first_line(input: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    input
        .take(4_096)
        .read_line(&mut line)
        .map_err(|error| Error::invalid("the password could not be read").with_source(error))?;
    if line.is_empty() {
        return Err(Error::invalid(
            "standard input has no password; type it on a terminal or pipe it in",
        ));
    }
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password() {
        for (input, password) in [
            ("secret\n", "secret"),
            ("secret", "secret"),
            ("se cret \r\nmore\n", "se cret "),
            ("\n", ""),
        ] {
            let read = first_line(&mut input.as_bytes()).expect("a line");
            assert_eq!(read, password, "{input:?}");
        }
        assert!(first_line(&mut &b""[..]).is_err());
        assert!(first_line(&mut &b"\xff\n"[..]).is_err());
    }
}
