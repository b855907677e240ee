//! Any method and path: no panic, and no route that holds a separator, a dot segment or a control character.

#![no_main]

use chartgate::api::Route;
use http::Method;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (choice, path) = input;
    let method = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
    ][usize::from(choice) % 5]
        .clone();
    let Ok(route) = Route::parse(&method, path) else {
        return;
    };
    let (tenant, file) = match route {
        Route::Index { tenant }
        | Route::Charts { tenant }
        | Route::Upload { tenant }
        | Route::UploadProvenance { tenant } => (tenant, String::new()),
        Route::File { tenant, file } => (tenant, file.as_str().to_owned()),
        Route::Version {
            tenant,
            name,
            version,
        }
        | Route::Delete {
            tenant,
            name,
            version,
        } => (tenant, format!("{name}-{version}")),
        _ => return,
    };
    assert!(
        !tenant.split('/').any(|part| part == ".." || part == "."),
        "{tenant:?}"
    );
    for text in [&tenant, &file] {
        assert!(!text.contains(['\0', '\\', '\n', '\r']), "{text:?}");
    }
    assert!(!file.contains('/'), "{file:?}");
});
