//! Who gets which partition.
