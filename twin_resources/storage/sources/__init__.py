"""Where posts come from: listing a folder, listing and reading an S3 prefix, polling a feed."""
