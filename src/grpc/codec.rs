//! Messages from and to bytes.
//!
//! Bytes that are no message of the contract are an error of whoever sent them.
//! tonic's own codec says INTERNAL, which is a defect of this server.

use std::fmt;
use std::marker::PhantomData;

use prost::{DecodeError, Message};
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use super::status::status;
use crate::error::{Error, Reason};

/// What stands before the fields in prost's texts.
const PREFIX: &str = "failed to decode Protobuf message: ";

/// The error of a request whose bytes are no message: INVALID_FIELD where it is
/// known which field is wrong, else PROTOCOL_VIOLATION.
pub(crate) fn undecodable(error: &DecodeError) -> Error {
    let text = error.to_string();
    let mut why = text.strip_prefix(PREFIX).unwrap_or(&text);
    // From the innermost message to the outermost.
    let mut fields = Vec::new();
    while let Some((place, rest)) = why.split_once(": ")
        && let Some((_, field)) = place.split_once('.')
        && !place.contains(' ')
    {
        fields.push(field);
        why = rest;
    }
    fields.reverse();
    let field = fields.join(".");
    match field.as_str() {
        "" => {
            let text = format!("the request is no message of this call: {why}");
            Error::new(Reason::ProtocolViolation, text).field("request")
        }
        field => {
            let text = format!("{field}: the bytes of the field cannot be decoded: {why}");
            Error::new(Reason::InvalidField, text).field(field)
        }
    }
}

/// Decodes requests to `D`, and encodes answers of `E`.
pub struct Codec<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for Codec<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E, D> fmt::Debug for Codec<E, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codec")
    }
}

impl<E, D> tonic::codec::Codec for Codec<E, D>
where
    E: Message + Send + 'static,
    D: Message + Default + Send + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = ProstEncoder<E>;
    type Decoder = Requests<D>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Requests(PhantomData)
    }
}

/// Decodes requests.
pub struct Requests<D>(PhantomData<D>);

impl<D> fmt::Debug for Requests<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requests")
    }
}

impl<D: Message + Default> Decoder for Requests<D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        let decoded = D::decode(bytes).map(Some);
        decoded.map_err(|error| status(&undecodable(&error)))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}
