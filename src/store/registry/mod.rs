//! Images and artifacts that users upload.

mod uploads;

pub use self::uploads::{Bound, Owner, Random, Room, UploadId, Uploads};
