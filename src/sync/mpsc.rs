//! Channels between threads that are shuttle's within a check.

use std::sync::mpsc::{RecvError, SendError};

use super::in_check;

#[derive(Debug)]
pub(crate) enum Sender<T> {
    Plain(std::sync::mpsc::Sender<T>),
    Checked(shuttle::sync::mpsc::Sender<T>),
}

#[derive(Debug)]
pub(crate) enum Receiver<T> {
    Plain(std::sync::mpsc::Receiver<T>),
    Checked(shuttle::sync::mpsc::Receiver<T>),
}

pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    if in_check() {
        let (sender, receiver) = shuttle::sync::mpsc::channel();
        return (Sender::Checked(sender), Receiver::Checked(receiver));
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    (Sender::Plain(sender), Receiver::Plain(receiver))
}

impl<T> Sender<T> {
    pub(crate) fn send(&self, item: T) -> Result<(), SendError<T>> {
        match self {
            Self::Plain(sender) => sender.send(item),
            Self::Checked(sender) => sender.send(item),
        }
    }
}

impl<T> Receiver<T> {
    pub(crate) fn recv(&self) -> Result<T, RecvError> {
        match self {
            Self::Plain(receiver) => receiver.recv(),
            Self::Checked(receiver) => receiver.recv(),
        }
    }
}
