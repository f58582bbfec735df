//! The 1Fichier API on loopback, for demonstration and tests.
