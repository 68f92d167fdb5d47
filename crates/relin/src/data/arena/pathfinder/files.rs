//! Folders of pictures as they are published: `imgs/N/sample_K.png`, and in `metadata/N.npy`, a text for all its ending,
//! a line for each picture: `imgs/N sample_K.png K LABEL …`.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use image::{GrayImage, ImageFormat, ImageReader};
use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use sha2::{Digest, Sha256};

use super::PathfinderConfig;
use crate::data::DataError;
use crate::data::arena::Part;
use crate::data::files::replace_file;
use crate::hexadecimal::hexadecimal;

/// What a file begins with that `numpy.save` wrote, which the published ones are not.
const NUMPY: &[u8] = b"\x93NUMPY";
/// Pictures of one `imgs/N`.
const PER_FOLDER: u64 = 1000;

/// A picture that the metadata names.
struct Entry {
    path: PathBuf,
    label: u32,
}

/// The pixels of a part of a folder, or of all of it, `[n, size, size]`; their size; and their labels. The first eight
/// tenths, in the order of the metadata, are to train on, the next tenth to validate on, the last one to test on.
///
/// # Errors
/// If a file cannot be read or is not what it should be, or the pictures are not squares of one size.
pub(super) fn read(
    folder: &Path,
    config: &PathfinderConfig,
    part: Option<Part>,
) -> Result<(Vec<u8>, usize, Vec<u32>), DataError> {
    let entries = entries(&root(folder, config)?)?;
    let tenths = |share: usize| entries.len() * share / 10;
    let entries = match part {
        None => &entries[..],
        Some(Part::Training) => &entries[..tenths(8)],
        Some(Part::Validation) => &entries[tenths(8)..tenths(9)],
        Some(Part::Test) => &entries[tenths(9)..],
    };
    let pictures: Vec<GrayImage> = entries.par_iter().map(picture).collect::<Result<_, _>>()?;
    let Some(first) = pictures.first() else {
        return Err(DataError::Empty { name: folder.display().to_string() });
    };
    let (width, height) = first.dimensions();
    let odd = pictures.iter().position(|picture| picture.dimensions() != (width, width));
    if let Some(at) = odd {
        let (columns, rows) = pictures[at].dimensions();
        let reason =
            format!("{columns}x{rows} pixels, but squares of one size are expected, as {width}x{height}");
        return Err(wrong(&entries[at].path, reason));
    }
    let labels = entries.iter().map(|entry| entry.label).collect();
    Ok((pictures.into_iter().flat_map(GrayImage::into_raw).collect(), width as usize, labels))
}

fn wrong(path: &Path, reason: String) -> DataError {
    DataError::Examples { name: path.display().to_string(), reason }
}

/// Where `imgs` and `metadata` are: the folder itself or the published one of the recipe's length and size inside.
fn root(folder: &Path, config: &PathfinderConfig) -> Result<PathBuf, DataError> {
    let set = match config.contour_length {
        6 => "curv_baseline".into(),
        length => format!("curv_contour_length_{length}"),
    };
    let size = format!("pathfinder{}", config.size);
    let candidates = [folder.into(), folder.join(&set), folder.join(&size).join(&set)];
    candidates.into_iter().find(|folder| folder.join("metadata").is_dir()).ok_or_else(|| {
        wrong(folder, format!("there is no folder metadata, {set}/metadata or {size}/{set}/metadata"))
    })
}

/// All pictures, by the numbers of their files, then in the order of the lines. Files of pictures that are empty, as one
/// of the published ones is, are left out.
fn entries(root: &Path) -> Result<Vec<Entry>, DataError> {
    let folder = root.join("metadata");
    let listed = std::fs::read_dir(&folder).map_err(DataError::io("read", &folder))?;
    let mut files = Vec::new();
    for file in listed {
        let path = file.map_err(DataError::io("read", &folder))?.path();
        if path.extension().is_some_and(|ending| ending == "npy") {
            files.push(path);
        }
    }
    let number = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
    files.sort_by_key(|path| (number(path), path.clone()));
    let of_file = |path: &PathBuf| {
        let bytes = std::fs::read(path).map_err(DataError::io("read", path))?;
        if bytes.starts_with(NUMPY) {
            return Err(wrong(path, "an array of numpy; expected lines of text, as published".into()));
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let row = |(at, line)| {
            entry(root, line).map_err(|reason| DataError::Row { path: path.clone(), line: at + 1, reason })
        };
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(row).collect()
    };
    let all: Vec<Vec<Entry>> = files.par_iter().map(of_file).collect::<Result<_, DataError>>()?;
    let is_empty = |entry: &Entry| std::fs::metadata(&entry.path).is_ok_and(|file| file.len() == 0);
    Ok(all.into_iter().flatten().filter(|entry| !is_empty(entry)).collect())
}

fn entry(root: &Path, line: &str) -> Result<Entry, String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [folder, file, _, label, ..] = fields[..] else {
        return Err(format!("expected folder, file, number and label, found {} fields", fields.len()));
    };
    match label {
        "0" | "1" => Ok(Entry { path: root.join(folder).join(file), label: u32::from(label == "1") }),
        _ => Err(format!("label: expected 0 or 1, found `{label}`")),
    }
}

fn picture(entry: &Entry) -> Result<GrayImage, DataError> {
    let path = &entry.path;
    let reader = ImageReader::open(path).map_err(DataError::io("read", path))?;
    let reader = reader.with_guessed_format().map_err(DataError::io("read", path))?;
    reader.decode().map(|image| image.to_luma8()).map_err(|error| wrong(path, error.to_string()))
}

/// Writes as many pictures of a size into a folder as the published ones are laid out; gives the bytes of the pictures
/// and their SHA-256, one after another.
///
/// # Errors
/// If no contours fit, or a file cannot be written.
pub(in crate::data) fn write(
    folder: &Path,
    pictures: u64,
    size: u64,
    seed: u64,
) -> Result<(u64, String), DataError> {
    let config = PathfinderConfig { size: size as usize, ..PathfinderConfig::default() };
    let (mut bytes, mut hash) = (0, Sha256::new());
    for at in 0..pictures.div_ceil(PER_FOLDER) {
        let numbers = at * PER_FOLDER..pictures.min((at + 1) * PER_FOLDER);
        let (pixels, labels) = config.pictures(seed, numbers)?;
        let packed: Vec<Vec<u8>> = (0..labels.len())
            .into_par_iter()
            .map(|i| png(&pixels[i * config.size * config.size..][..config.size * config.size], size as u32))
            .collect();
        let (images, mut metadata) = (folder.join(format!("imgs/{at}")), String::new());
        std::fs::create_dir_all(&images).map_err(DataError::io("create", &images))?;
        for (i, (png, label)) in packed.iter().zip(labels).enumerate() {
            let path = images.join(format!("sample_{i}.png"));
            std::fs::write(&path, png).map_err(DataError::io("write", &path))?;
            metadata += &format!("imgs/{at} sample_{i}.png {i} {label} {}\n", config.contour_length);
            bytes += png.len() as u64;
            hash.update(png);
        }
        // After its pictures, so that it names none that is not there.
        let path = folder.join(format!("metadata/{at}.npy"));
        replace_file(&path, |file| {
            file.write_all(metadata.as_bytes()).map_err(DataError::io("write", &path))
        })?;
    }
    Ok((bytes, hexadecimal(&hash.finalize())))
}

fn png(pixels: &[u8], size: u32) -> Vec<u8> {
    let image = GrayImage::from_raw(size, size, pixels.to_vec()).expect("a square");
    let mut packed = Cursor::new(Vec::new());
    image.write_to(&mut packed, ImageFormat::Png).expect("memory takes any picture");
    packed.into_inner()
}
