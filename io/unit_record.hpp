// What a job has finished so far, kept beside its output until that is complete (io/FORMAT.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "framework/comm.hpp"
#include "framework/shard.hpp"
#include "io/slabs.hpp"
#include "io/staged_file.hpp"
#include "io/unit_manifest.hpp"

namespace espalier::io {

// An open file or folder, closed with the object.
struct OwnDescriptor {
  OwnDescriptor() = default;
  ~OwnDescriptor() { reset(); }
  OwnDescriptor(const OwnDescriptor&) = delete;
  OwnDescriptor& operator=(const OwnDescriptor&) = delete;
  void reset(int other = -1) noexcept;

  int value = -1;
};

// The folder OUTPUT.units of one job. Units are consecutive items (samples, rows), none of them in
// two units, each with the bytes it gave. A rank holds those it has added and its part of what
// earlier runs left. Small jobs touch no disk: there is no folder before the first save.
class UnitRecord {
 public:
  struct Job {
    std::string path;  // of the output
    Provenance provenance;
    std::int64_t items = 0;  // of the whole job
    bool resume = true;      // or drop what is there
    // How the items are cut into units, for jobs whose later runs have to cut them alike.
    std::vector<std::int64_t> cut = {};
    std::int64_t most_pending_bytes = std::int64_t{64} << 20;  // held in memory
  };

  // Finds what earlier runs have saved, reads it once and checks it. `comm` is borrowed.
  //   where    collective over `comm`
  //   throws   SharedError: kBadData if it belongs to another job (says what differs) or is
  //            damaged; kCannotCreate if another run is at it
  UnitRecord(const Comm& comm, Job job);
  UnitRecord(const UnitRecord&) = delete;
  UnitRecord& operator=(const UnitRecord&) = delete;

  std::int64_t earlier_runs() const noexcept { return earlier_runs_; }
  // Units of earlier runs, on every rank alike, ascending.
  const std::vector<Range>& finished() const noexcept { return finished_; }
  // That of the first run.
  const std::vector<std::int64_t>& cut() const noexcept { return job_.cut; }

  // Adds a unit of this rank. It is safe after the next save. Empty ranges are left out.
  // It stays in memory, or goes to this rank's file if there is one already.
  //   where    local
  //   throws   Error(kIoFailed) if the disk is full
  void add(Range items, std::span<const std::byte> bytes) { add(items, {bytes}); }
  // The same for bytes that lie in several places.
  void add(Range items, std::initializer_list<std::span<const std::byte>> parts);
  // Whether so much is held in memory that it had better be saved. Local.
  bool wants_save() const noexcept;

  // Makes all that was added safe against a crash; what was saved before stays valid until then.
  //   where    collective
  //   throws   SharedError: kIoFailed if the disk is full, kCannotCreate (also if the ranks do not
  //            share the folder), kNoPermission
  void save();
  const std::string& folder() const noexcept { return folder_; }

  // This rank's units: its part of those found, then those added.
  std::size_t units() const noexcept { return mine_.size(); }
  Range items(std::size_t unit) const;
  std::int64_t bytes(std::size_t unit) const;
  // Bytes [position, position + out.size()) of a unit.
  //   throws   Error(kIoFailed)
  void read(std::size_t unit, std::int64_t position, std::span<std::byte> out) const;

  // Whether an earlier run, or this rank in this run, has finished the unit of just these items;
  // its bytes.
  //   throws   Error: kBadData if the items are those of a part of a unit; kIoFailed
  bool has(Range items) const;
  std::vector<std::byte> read_whole(Range items) const;
  // The same where they lie in memory, or else read into `room`; 8-byte aligned. Good until the
  // next unit is added or saved.
  std::span<const std::byte> look_at(Range items, std::vector<std::byte>& room) const;

  // Takes the folder away: the output is complete.
  //   where    collective
  void remove();

  // Takes a record away that this job's finished output has left behind (killed in between).
  //   where    collective over `comm`
  static void remove_leftover(const Comm& comm, const std::string& path,
                              const std::string& job_digest);
  static std::string folder_of_output(const std::string& path) { return path + ".units"; }

 private:
  std::string name_of(std::int64_t run, std::int64_t rank) const;
  void lock();
  void load();
  void check_bytes(const UnitEntry& entry) const;
  bool is_pending(const UnitEntry& entry) const noexcept;
  void read_entry(const UnitEntry& entry, std::int64_t position, std::span<std::byte> out) const;
  void read_saved(const UnitEntry& entry, std::int64_t position, std::span<std::byte> out) const;
  void spill();
  void write_manifest() const;
  [[noreturn]] void refuse(const std::string& what) const;

  const Comm& comm_;
  Job job_;
  std::string folder_;
  std::int64_t earlier_runs_ = 0;
  std::vector<Range> finished_;
  std::vector<UnitEntry> mine_;
  // By first item: all that were found, those added here.
  std::unordered_map<std::int64_t, UnitEntry> known_;
  std::size_t not_saved_ = 0;         // the last ones added
  std::vector<UnitEntry> all_saved_;  // of all ranks; kept on rank 0
  OwnDescriptor lock_, file_;         // on rank 0; this rank's file of this run
  bool shared_ = false;               // the folder is there, and all ranks have been told
  std::int64_t file_bytes_ = 0;       // written to it
  Slabs pending_;                     // what follows them
};

}  // namespace espalier::io
