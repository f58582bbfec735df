//! What the storage operations mean: rclone's rules for names and paths on top of the 1Fichier API.

pub mod encoding;
