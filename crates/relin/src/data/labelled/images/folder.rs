//! Images as files, one folder a class: `ROOT/{train,val,test}/CLASS/*.{png,jpg,jpeg}`.

use std::path::{Path, PathBuf};

use image::DynamicImage;
use image::imageops::FilterType;
use rayon::prelude::*;

use super::super::super::DataError;
use super::set::{ImageSize, ImageSplit, Images, wrong};

/// The folder of a split.
pub(super) fn part(root: &Path, split: ImageSplit) -> PathBuf {
    root.join(match split {
        ImageSplit::Training => "train",
        ImageSplit::Validation => "val",
        ImageSplit::Test => "test",
    })
}

/// The images of a split, all in memory; classes are numbered in the order of their folders' names. They are grey if
/// all files are, else coloured. `side` resizes them to so many pixels square.
pub(super) fn read(root: &Path, split: ImageSplit, side: Option<usize>) -> Result<Images, DataError> {
    let folder = part(root, split);
    let classes = entries(&folder)?.into_iter().filter(|path| path.is_dir()).collect::<Vec<_>>();
    if classes.is_empty() {
        return Err(wrong(&folder, "there is no folder of a class in it".into()));
    }
    let mut files = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let of_class: Vec<_> = entries(class)?.into_iter().filter(|path| is_image(path)).collect();
        if of_class.is_empty() {
            return Err(wrong(class, "there is no png or jpg file in the folder of this class".into()));
        }
        files.extend(of_class.into_iter().map(|path| (path, label as u32)));
    }
    let decoded: Vec<DynamicImage> =
        files.par_iter().map(|(path, _)| decode(path, side)).collect::<Result<_, _>>()?;
    let size = common_size(&files, &decoded)?;
    Ok(Images {
        pixels: decoded.into_par_iter().flat_map_iter(|image| planes(image, size)).collect(),
        size,
        labels: files.iter().map(|(_, label)| *label).collect(),
        classes: classes.iter().map(|path| name(path)).collect(),
    })
}

/// What lies in a folder, sorted by name; hidden entries are no data.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let io = |source| DataError::Io { action: "read", path: folder.into(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        paths.push(entry.map_err(io)?.path());
    }
    paths.retain(|path| !name(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    ["png", "jpg", "jpeg"].contains(&ending.as_str())
}

fn decode(path: &Path, side: Option<usize>) -> Result<DynamicImage, DataError> {
    let reader = image::ImageReader::open(path).and_then(|reader| reader.with_guessed_format());
    let image = reader.map_err(DataError::io("read", path))?.decode();
    let image = image.map_err(|error| wrong(path, format!("not a readable image: {error}")))?;
    Ok(match side {
        Some(side) => image.resize_exact(side as u32, side as u32, FilterType::Triangle),
        None => image,
    })
}

fn common_size(files: &[(PathBuf, u32)], images: &[DynamicImage]) -> Result<ImageSize, DataError> {
    let (first, others) = (&images[0], images.iter().zip(files));
    let sizes = |image: &DynamicImage| (image.height() as usize, image.width() as usize);
    let (rows, columns) = sizes(first);
    for (image, (path, _)) in others {
        let (other_rows, other_columns) = sizes(image);
        if (other_rows, other_columns) != (rows, columns) {
            let reason = format!(
                "{other_columns}x{other_rows} pixels, but {} has {columns}x{rows}; data.image_size = N resizes all to NxN",
                files[0].0.display()
            );
            return Err(wrong(path, reason));
        }
    }
    let channels = if images.iter().any(|image| image.color().has_color()) { 3 } else { 1 };
    Ok(ImageSize { channels, rows, columns })
}

/// One channel after the other.
fn planes(image: DynamicImage, size: ImageSize) -> Vec<u8> {
    if size.channels == 1 {
        return image.into_luma8().into_raw();
    }
    let pixels = image.into_rgb8().into_raw();
    (0..3).flat_map(|channel| pixels.iter().skip(channel).step_by(3).copied()).collect()
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, Rgb, RgbImage};

    use super::*;

    fn save(root: &Path, path: &str, image: DynamicImage) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image.save(path).unwrap();
    }

    fn grey(columns: u32, rows: u32, value: u8) -> DynamicImage {
        GrayImage::from_pixel(columns, rows, Luma([value])).into()
    }

    #[test]
    fn classes_are_folders_in_the_order_of_their_names() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        save(root, "train/zebra/1.png", grey(3, 2, 7));
        save(root, "train/ant/b.jpg", grey(3, 2, 200));
        save(root, "train/ant/a.png", grey(3, 2, 9));
        std::fs::write(root.join("train/ant/notes.txt"), "no image").unwrap();
        let images = read(root, ImageSplit::Training, None).unwrap();
        assert_eq!(
            (&images.labels[..], &images.classes[..]),
            (&[0, 0, 1][..], &["ant", "zebra"].map(String::from)[..])
        );
        assert_eq!(images.size, ImageSize { channels: 1, rows: 2, columns: 3 });
        assert_eq!((images.pixels[0], images.pixels[12]), (9, 7));
        assert!(images.pixels[6].abs_diff(200) < 3, "jpeg loses little of a flat image");
    }

    #[test]
    fn one_coloured_image_makes_all_coloured_and_channels_follow_each_other() {
        let root = tempfile::tempdir().unwrap();
        let mut image = RgbImage::from_pixel(2, 1, Rgb([1, 2, 3]));
        image.put_pixel(1, 0, Rgb([4, 5, 6]));
        save(root.path(), "test/a/1.png", image.into());
        save(root.path(), "test/a/2.png", grey(2, 1, 8));
        let images = read(root.path(), ImageSplit::Test, None).unwrap();
        assert_eq!(images.pixels, [1, 4, 2, 5, 3, 6, 8, 8, 8, 8, 8, 8]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let refused = |side| read(root, ImageSplit::Training, side).unwrap_err().to_string();
        std::fs::create_dir_all(root.join("train")).unwrap();
        assert!(refused(None).contains("no folder of a class"), "{}", refused(None));
        save(root, "train/a/1.png", grey(4, 4, 1));
        std::fs::create_dir_all(root.join("train/b")).unwrap();
        let empty = refused(None);
        assert!(empty.contains("train/b: ") && empty.contains("no png or jpg"), "{empty}");
        save(root, "train/b/2.png", grey(5, 4, 1));
        let mixed = refused(None);
        ["2.png", "5x4", "1.png has 4x4", "data.image_size"]
            .iter()
            .for_each(|word| assert!(mixed.contains(word), "no `{word}` in: {mixed}"));
        assert_eq!(read(root, ImageSplit::Training, Some(3)).unwrap().size.len(), 9);
        std::fs::write(root.join("train/b/3.jpg"), b"not a picture").unwrap();
        let broken = refused(Some(3));
        assert!(broken.contains("3.jpg: not a readable image"), "{broken}");
        let whole = std::fs::read(root.join("train/a/1.png")).unwrap();
        std::fs::write(root.join("train/b/3.jpg"), &whole[..whole.len() - 20]).unwrap();
        assert!(refused(Some(3)).contains("3.jpg: not a readable image"), "cut short");
    }
}
