//! TensorBoard event files: TFRecord frames around protobuf `Event` messages, scalars only.
//!
//! ```text
//! frame   = length: u64 LE, masked CRC-32C of it: u32 LE, message, masked CRC-32C of it: u32 LE
//! Event   = 1: wall_time double, 2: step int64, 3: file_version string, 5: Summary
//! Summary = repeated 1: Value;   Value = 1: tag string, 2: simple_value float
//! ```

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{RunlogError, masked};

/// An open event file.
#[derive(Debug)]
pub struct TensorBoard {
    path: PathBuf,
    file: File,
}

impl TensorBoard {
    /// A new event file in `folder`, which is created if need be. A resumed run opens a new file beside the old
    /// one; TensorBoard reads them together.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn create(folder: &Path) -> Result<Self, RunlogError> {
        let now = wall_time();
        let path = folder.join(format!("events.out.tfevents.{:.6}.relin", now));
        let unwritable = |source| RunlogError::Write { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(unwritable)?;
        let file = File::create_new(&path).map_err(unwritable)?;
        let mut board = Self { path, file };
        let mut event = Message::default();
        event.double(1, now);
        event.bytes(3, b"brain.Event:2");
        board.frame(&event.0)?;
        Ok(board)
    }

    /// Adds the scalars of one step.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn scalars(&mut self, step: usize, scalars: &[(&str, f64)]) -> Result<(), RunlogError> {
        let mut summary = Message::default();
        for (tag, value) in scalars {
            let mut scalar = Message::default();
            scalar.bytes(1, tag.as_bytes());
            scalar.float(2, *value as f32);
            summary.bytes(1, &scalar.0);
        }
        let mut event = Message::default();
        event.double(1, wall_time());
        event.varint_field(2, step as u64);
        event.bytes(5, &summary.0);
        self.frame(&event.0)
    }

    fn frame(&mut self, message: &[u8]) -> Result<(), RunlogError> {
        let length = (message.len() as u64).to_le_bytes();
        let mut frame = Vec::with_capacity(message.len() + 16);
        frame.extend(length);
        frame.extend(masked(&length).to_le_bytes());
        frame.extend(message);
        frame.extend(masked(message).to_le_bytes());
        self.file.write_all(&frame).map_err(|source| RunlogError::Write { path: self.path.clone(), source })
    }
}

fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// A protobuf message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    fn varint_field(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Field<'a> {
        Varint(u64),
        Double(f64),
        Bytes(&'a [u8]),
        Float(f32),
    }

    fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
        let (head, tail) = bytes.split_at(n);
        *bytes = tail;
        head
    }

    fn read_varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = take(bytes, 1)[0];
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let key = read_varint(&mut bytes);
            let field = match key & 7 {
                0 => Field::Varint(read_varint(&mut bytes)),
                1 => Field::Double(f64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
                2 => {
                    let length = read_varint(&mut bytes) as usize;
                    Field::Bytes(take(&mut bytes, length))
                }
                5 => Field::Float(f32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap())),
                other => panic!("wire type {other}"),
            };
            found.push((key >> 3, field));
        }
        found
    }

    fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let length = take(&mut bytes, 8);
            assert_eq!(take(&mut bytes, 4), masked(length).to_le_bytes());
            let message = take(&mut bytes, u64::from_le_bytes(length.try_into().unwrap()) as usize);
            assert_eq!(take(&mut bytes, 4), masked(message).to_le_bytes());
            found.push(message);
        }
        found
    }

    #[test]
    fn the_file_reads_back_frame_by_frame() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::create(&folder.path().join("board")).unwrap();
        board.scalars(300, &[("loss", 1.5), ("learning_rate", 0.25)]).unwrap();
        let bytes = fs::read(&board.path).unwrap();
        let [version, scalars] = frames(&bytes)[..] else { panic!("two frames expected") };
        assert_eq!(fields(version)[1], (3, Field::Bytes(b"brain.Event:2")));
        let event = fields(scalars);
        assert!(matches!(event[0], (1, Field::Double(time)) if time > 1e9));
        assert_eq!(event[1], (2, Field::Varint(300)));
        let (5, Field::Bytes(summary)) = event[2] else { panic!("no summary") };
        let values: Vec<_> = fields(summary)
            .into_iter()
            .map(|(_, value)| if let Field::Bytes(value) = value { fields(value) } else { panic!() })
            .collect();
        assert_eq!(values[0], [(1, Field::Bytes(b"loss")), (2, Field::Float(1.5))]);
        assert_eq!(values[1], [(1, Field::Bytes(b"learning_rate")), (2, Field::Float(0.25))]);
    }
}
