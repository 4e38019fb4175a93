//! Drives as JavaScript wrote them: the same edits must give the same blocks, and be read alike.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::convert::Infallible;

use anypath_interop::vectors::{fixed, unhex};
use anypath_replicate::bee::Need;
use anypath_replicate::core::{Manifest, Signer};
use anypath_replicate::corestore::blobs_manifest;
use anypath_replicate::drive::{BlobId, BlobReader, BlobWriter, Drive, Edit, Entry, content_key};
use anypath_replicate::{AppendBlocks, Blocks};
use anypath_wire::PublicKey;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde_json::Value;

#[derive(Default)]
struct Core(Vec<Bytes>);

impl Blocks for Core {
    type Error = Infallible;

    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn block(&self, index: u64) -> Result<Option<Bytes>, Infallible> {
        Ok(self.0.get(index as usize).cloned())
    }
}

impl AppendBlocks for Core {
    fn byte_length(&self) -> u64 {
        self.0.iter().map(|block| block.len() as u64).sum()
    }

    fn append(&mut self, blocks: &[Bytes]) -> Result<u64, Infallible> {
        self.0.extend_from_slice(blocks);
        Ok(self.length())
    }
}

#[test]
fn the_same_edits_give_the_same_blocks() {
    let vector = vector(include_str!("../vectors/hyperdrive.json"));
    let (mut db, mut blobs, mut drive) = (Core::default(), Core::default(), Drive::new());
    let mut writer = BlobWriter::new(&blobs);
    let mut content = |blobs: &mut Core, bytes: Vec<u8>| {
        writer.write(blobs, bytes.into()).unwrap();
        let id = writer.finish(blobs).unwrap();
        writer.flush(blobs).unwrap();
        id
    };
    let hello = Entry::file(content(&mut blobs, b"hello world".to_vec()));
    let a = Entry::file(content(&mut blobs, vec![7; 150_000]));
    let a = Entry { executable: true, metadata: Some(serde_json::json!({ "type": "x" })), ..a };
    let b = Entry::file(content(&mut blobs, Vec::new()));
    let tmp = Entry::file(content(&mut blobs, vec![7]));
    let put = |path: &str, entry| Edit::Put { path: path.to_owned(), entry };
    let edits = [
        put("/hello.txt", hello),
        put("/dir/a.bin", a),
        put("dir/b.txt", b),
        put("/link", Entry::symlink("/hello.txt")),
        put("/tmp", tmp),
        Edit::Delete { path: "/tmp".to_owned() },
    ];
    for edit in edits {
        ready(drive.apply(&mut db, &[edit]).unwrap());
    }
    let ours: Vec<String> = db.0.iter().map(|block| HEXLOWER.encode(block)).collect();
    assert_eq!(ours, array(&vector["dbBlocks"]).iter().map(text).collect::<Vec<_>>());
    let ours: Vec<u64> = blobs.0.iter().map(|block| block.len() as u64).collect();
    assert_eq!(ours, array(&vector["blobsBlocks"]).iter().map(|block| uint(&block["byteLength"])).collect::<Vec<_>>());
}

#[test]
fn their_drive_is_read_as_they_read_it() {
    let vector = vector(include_str!("../vectors/hyperdrive.json"));
    let db = Core(array(&vector["dbBlocks"]).iter().map(|block| unhex(block).into()).collect());
    let mut drive = Drive::new();
    assert_eq!(ready(content_key(&db).unwrap()), None);
    let files = ready(drive.list(&db, db.length(), "/").unwrap());
    assert_eq!(files.len(), array(&vector["list"]).len());
    for (file, expected) in files.iter().zip(array(&vector["list"])) {
        assert_eq!((file.path.as_str(), file.seq), (text(&expected["key"]), uint(&expected["seq"])));
        assert_eq!(file.entry, serde_json::from_value(expected["value"].clone()).unwrap());
        assert_eq!(ready(drive.entry(&db, db.length(), &file.path).unwrap()).as_ref(), Some(file));
    }
    let names =
        |files: Vec<_>| files.into_iter().map(|file: anypath_replicate::drive::File| file.path).collect::<Vec<_>>();
    assert_eq!(names(ready(drive.list(&db, db.length(), "/dir").unwrap())), ["/dir/a.bin", "/dir/b.txt"]);
    assert_eq!(names(ready(drive.list(&db, 2, "/").unwrap())), ["/hello.txt"]);
    assert!(ready(drive.entry(&db, 6, "/tmp").unwrap()).is_some());
    assert_eq!(ready(drive.entry(&db, 7, "/tmp").unwrap()), None);
}

#[test]
fn the_blobs_core_follows_from_the_drive() {
    let vector = vector(include_str!("../vectors/hyperdrive.json"));
    let drive = PublicKey(fixed(&vector["key"]));
    let signer = &vector["manifest"]["signers"][0];
    let manifest = Manifest::single(Signer {
        namespace: fixed(&signer["namespace"]),
        public_key: PublicKey(fixed(&signer["publicKey"])),
    });
    assert_eq!(manifest.key(), drive);
    let blobs = blobs_manifest(&drive, &manifest);
    let mut encoded = Vec::new();
    blobs.encode(&mut encoded);
    assert_eq!(encoded, unhex(&vector["contentManifestEncoded"]));
    assert_eq!(blobs.key(), PublicKey(fixed(&vector["contentKey"])));
}

#[test]
fn the_core_named_db_is_the_drives() {
    let drive = vector(include_str!("../vectors/hyperdrive.json"));
    let store = vector(include_str!("../vectors/corestore.json"));
    let db = array(&store["cores"]).iter().find(|core| core["name"] == "db").unwrap();
    assert_eq!(db["key"], drive["key"]);
    assert_eq!(db["publicKey"], drive["manifest"]["signers"][0]["publicKey"]);
}

#[test]
fn contents_are_where_they_put_them() {
    let vector = vector(include_str!("../vectors/hyperblobs.json"));
    let ids: Vec<BlobId> = array(&vector["ids"]).iter().map(|id| serde_json::from_value(id.clone()).unwrap()).collect();
    let mut core = Core::default();
    let mut writer = BlobWriter::new(&core);
    for id in &ids[..3] {
        writer.write(&mut core, vec![1; id.byte_length as usize].into()).unwrap();
        assert_eq!(writer.finish(&mut core).unwrap(), *id);
    }
    writer.flush(&mut core).unwrap();
    // The fourth was written in three pieces, which the reference makes blocks of; the fifth is one block, twice.
    core.append(&["abc".into(), "defg".into(), "hij".into(), vec![9; 65536].into()]).unwrap();
    core.append(&[unhex(&vector["lastBlock"]).into()]).unwrap();
    assert_eq!((core.length(), core.byte_length()), (uint(&vector["length"]), uint(&vector["byteLength"])));
    for (id, content) in
        ids.iter().zip([vec![1; 3], vec![1; 131_073], vec![], b"abcdefghij".to_vec(), vec![9; 131_072]])
    {
        assert!(read(&core, *id) == content, "{id:?}");
    }
}

fn read(core: &Core, id: BlobId) -> Vec<u8> {
    let mut reader = BlobReader::new(id);
    let mut content = Vec::new();
    while let Some(block) = ready(reader.next(core).unwrap()) {
        content.extend_from_slice(&block);
    }
    content
}

fn ready<T>(need: Need<T>) -> T {
    match need {
        Need::Ready(value) => value,
        Need::Missing(seqs) => panic!("blocks {seqs:?} are missing"),
    }
}

fn vector(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn uint(value: &Value) -> u64 {
    value.as_u64().unwrap()
}
