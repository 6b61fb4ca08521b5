"""Tests of the SFTP server."""
