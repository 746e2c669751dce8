import CIOUring
import Glibc

/// A run of address space that the kernel backs with memory as it is touched, and takes back on request.
///
/// It belongs to whoever holds it and is unmapped with it.
package struct MemoryRegion: ~Copyable, @unchecked Sendable {
  /// The first byte; a multiple of `alignment`.
  package let base: UnsafeMutableRawPointer
  /// Bytes, as asked for, rounded up to whole pages.
  package let count: Int

  /// What a region starts at a multiple of: the size of a huge page on x86-64 and on arm64 with 4-KiB pages.
  package static var alignment: Int { 2 << 20 }

  /// The size of a page of this machine.
  package static let pageSize = Int(sysconf(Int32(_SC_PAGESIZE)))

  private init(base: UnsafeMutableRawPointer, count: Int) {
    self.base = base
    self.count = count
  }

  /// Reserves `bytes` of zeroed address space without taking memory (MAP_NORESERVE).
  ///
  /// - Parameter hugePages: asks for huge pages (MADV_HUGEPAGE), which spares TLB misses in large tables; memory is
  ///   then taken two megabytes at a time. Without, asks for none, wherever the system would give them to everyone. A
  /// kernel
  ///   that has none ignores both.
  /// - Throws: `ReactorError` of kind `outOfResources` if the address space is limited.
  package static func reserve(_ bytes: Int, hugePages: Bool = true) throws(ReactorError) -> MemoryRegion {
    try reserve(bytes, hugePages: hugePages ? 0..<bytes : 0..<0)
  }

  /// The same with huge pages in a part of it: where what is used is dense.
  package static func reserve(_ bytes: Int, hugePages: Range<Int>) throws(ReactorError) -> MemoryRegion {
    precondition(bytes > 0, "an empty region")
    let page = pageSize
    let (padded, overflow) = bytes.addingReportingOverflow(alignment + page)
    guard !overflow, let mapped = map(padded) else { throw refusal(bytes, errno) }
    // Small regions need no alignment beyond a page, but one rule for all is simpler than two; the surplus goes back.
    let count = (bytes + page - 1) & ~(page - 1)
    let start = UInt(bitPattern: mapped)
    let aligned = (start + UInt(alignment) - 1) & ~(UInt(alignment) - 1)
    let front = Int(aligned - start)
    let base = mapped + front
    if front > 0 { munmap(mapped, front) }
    let end = (padded + page - 1) & ~(page - 1)
    if end > front + count { munmap(base + count, end - front - count) }
    advise(base, 0..<hugePages.lowerBound, MADV_NOHUGEPAGE)
    advise(base, hugePages, MADV_HUGEPAGE)
    advise(base, hugePages.upperBound..<count, MADV_NOHUGEPAGE)
    return MemoryRegion(base: base, count: count)
  }

  deinit { munmap(base, count) }

  /// Gives the memory of the whole pages within a range back to the kernel; they read as zero afterwards.
  ///
  /// - Returns: false if the kernel refused (locked memory), in which case the bytes are as they were.
  @discardableResult
  package func discard(_ range: Range<Int>) -> Bool {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "discarding outside of the region")
    let page = Self.pageSize
    let first = (range.lowerBound + page - 1) & ~(page - 1)
    let last = range.upperBound & ~(page - 1)
    guard first < last else { return true }
    return madvise(base + first, last - first, MADV_DONTNEED) == 0
  }

  /// The same for whoever has only the region's start; the range must lie in the region and in whole pages.
  @discardableResult
  package static func discard(_ base: UnsafeMutableRawPointer, _ range: Range<Int>) -> Bool {
    madvise(base + range.lowerBound, range.count, MADV_DONTNEED) == 0
  }

  /// Has the kernel give whole pages of a region their memory, as a write would, but leaves their bytes alone; any
  /// thread may do it, whoever writes there at the time (MADV_POPULATE_WRITE).
  ///
  /// - Returns: false if the kernel has no memory or, before Linux 5.14, no such call: then the first write to each
  ///   page does it.
  @discardableResult
  package static func populate(_ base: UnsafeMutableRawPointer, _ range: Range<Int>) -> Bool {
    let populateWrite: Int32 = 23  // glibc's headers lack the name
    return madvise(base + range.lowerBound, range.count, populateWrite) == 0
  }

  private static func advise(_ base: UnsafeMutableRawPointer, _ range: Range<Int>, _ advice: Int32) {
    if !range.isEmpty { madvise(base + range.lowerBound, range.count, advice) }
  }

  private static func map(_ bytes: Int) -> UnsafeMutableRawPointer? {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    guard let mapped = mmap(nil, bytes, PROT_READ | PROT_WRITE, flags, -1, 0), mapped != MAP_FAILED else { return nil }
    return mapped
  }

  private static func refusal(_ bytes: Int, _ code: Int32) -> ReactorError {
    ReactorError(
      .outOfResources,
      "\(bytes >> 20) MiB of address space can't be reserved: \(describe(errno: code)). A limit on virtual memory "
        + "(ulimit -v) or the kernel's overcommit policy (vm.overcommit_memory=2) is in the way; raise it or use less "
        + "memory.",
      errno: code)
  }
}
