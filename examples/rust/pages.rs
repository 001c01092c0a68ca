// SPDX-License-Identifier: BSD-2-Clause
// pages.rs - folio from Rust: counts the lines of a file in pinned pages, changes its first byte to
// '#' in place, and makes that durable.
//     rustc pages.rs -l folio && ./pages FILE
//
// The declarations are written by hand. What is inline in the headers is exported under the same
// name, so a folio is an address and nothing more.

use std::ffi::{c_void, CString};
use std::os::raw::{c_char, c_int, c_uint};
use std::{env, io, mem::size_of, ptr, slice};

const PAGE: usize = 4096;
const O_RDWR: c_int = 2;

// Opaque: the program has addresses of these.
enum Cache {}
enum File {}
enum Folio {}

// The fields of struct folio_cache_params that a program must have; 0 is the default of each.
#[repr(C)]
struct CacheParams {
    size: usize,
    bytes: u64,
    others: [u64; 4], // flags and io_depth, io, io_context, readahead
}

type Out<T> = *mut *mut T;

extern "C" {
    fn folio_cache_open(params: *const CacheParams, cache: Out<Cache>) -> c_int;
    fn folio_cache_close(cache: *mut Cache) -> c_int;
    fn folio_file_open(
        cache: *mut Cache,
        path: *const c_char,
        flags: c_int,
        mode: c_uint,
        file: Out<File>,
    ) -> c_int;
    fn folio_file_close(file: *mut File) -> c_int;
    fn folio_file_size(file: *const File) -> u64;
    fn folio_file_sync(file: *mut File, range: *const c_void, flags: c_uint) -> c_int;
    fn folio_lock(folio: *mut Folio) -> c_int;
    fn folio_mark_dirty(folio: *mut Folio, sequence: u64) -> c_int;
    fn folio_unlock(folio: *mut Folio) -> c_int;
    // Inline in C:
    fn folio_file_get(file: *mut File, index: u64, flags: c_uint, folio: Out<Folio>) -> c_int;
    fn folio_page(folio: *const Folio, index: u64) -> *mut c_void;
    fn folio_put(folio: *mut Folio);
}

// A negative result is an errno value.
fn check(result: c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::from_raw_os_error(-result))
    } else {
        Ok(())
    }
}

// A pinned page, put when it goes out of scope. It may outlive its file, not its cache.
struct Page {
    folio: *mut Folio,
    memory: *mut u8,
}

impl Page {
    fn get(file: *mut File, index: u64) -> io::Result<Page> {
        let mut folio = ptr::null_mut();
        check(unsafe { folio_file_get(file, index, 0, &mut folio) })?;
        Ok(Page { folio, memory: unsafe { folio_page(folio, index) } as *mut u8 })
    }

    // What the page has now; no thread of this program changes it.
    fn bytes(&self) -> &[u8] {
        unsafe { slice::from_raw_parts(self.memory, PAGE) }
    }

    fn change(&mut self, at: usize, byte: u8) -> io::Result<()> {
        assert!(at < PAGE);
        check(unsafe { folio_lock(self.folio) })?;
        unsafe { *self.memory.add(at) = byte };
        let marked = check(unsafe { folio_mark_dirty(self.folio, 0) });
        marked.and(check(unsafe { folio_unlock(self.folio) }))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        unsafe { folio_put(self.folio) }
    }
}

fn run(file: *mut File) -> io::Result<()> {
    let size = unsafe { folio_file_size(file) } as usize;
    let mut lines = 0;
    for index in 0..(size + PAGE - 1) / PAGE {
        let page = Page::get(file, index as u64)?;
        let end = PAGE.min(size - index * PAGE);
        lines += page.bytes()[..end].iter().filter(|byte| **byte == b'\n').count();
    }
    println!("{} bytes, {} lines", size, lines);
    Page::get(file, 0)?.change(0, b'#')?;
    check(unsafe { folio_file_sync(file, ptr::null(), 0) })
}

fn main() -> io::Result<()> {
    let path = CString::new(env::args().nth(1).expect("usage: pages FILE"))?;
    let size = size_of::<CacheParams>();
    let params = CacheParams { size, bytes: 1 << 20, others: [0; 4] };
    let (mut cache, mut file) = (ptr::null_mut(), ptr::null_mut());
    check(unsafe { folio_cache_open(&params, &mut cache) })?;
    check(unsafe { folio_file_open(cache, path.as_ptr(), O_RDWR, 0, &mut file) })?;
    let result = run(file);
    check(unsafe { folio_file_close(file) })?;
    check(unsafe { folio_cache_close(cache) })?;
    result
}
