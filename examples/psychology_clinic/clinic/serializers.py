"""What the API takes and shows. Reads are public here, so they show no contact data."""

from datetime import datetime

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.validators import RegexValidator, validate_email
from django.utils import timezone
from rest_framework import serializers

from .models import Appointment, Notification

validate_phone = RegexValidator(r"^\+[1-9]\d{6,14}\Z", "Use the form +4915112345678.")


class UserSerializer(serializers.ModelSerializer):
    """A user; the e-mail address goes in and never comes out."""

    class Meta:
        model = User
        fields = ["id", "username", "email", "first_name", "last_name", "date_joined"]
        read_only_fields = ["date_joined"]
        extra_kwargs = {"email": {"write_only": True}}

    def create(self, validated_data: dict) -> User:
        """Create the user with no usable password."""
        return User.objects.create_user(**validated_data)


class AppointmentSerializer(serializers.ModelSerializer):
    """An appointment; its note is for the clinic's eyes, in the admin."""

    class Meta:
        model = Appointment
        fields = ["id", "user", "starts_at", "note", "reminded_at"]
        extra_kwargs = {"note": {"write_only": True}}

    def validate_starts_at(self, value: datetime) -> datetime:
        """Refuse the past."""
        if value <= timezone.now():
            raise serializers.ValidationError("An appointment starts in the future.")
        return value


class NotificationSerializer(serializers.ModelSerializer):
    """A notification; the recipient comes out masked and the text not at all."""

    body = serializers.CharField(write_only=True, max_length=2000)
    recipient = serializers.CharField(max_length=254)

    class Meta:
        model = Notification
        fields = [
            "id",
            "channel",
            "recipient",
            "subject",
            "body",
            "status",
            "error",
            "created_at",
            "sent_at",
        ]
        read_only_fields = ["subject", "status", "error", "sent_at"]

    def validate(self, attrs: dict) -> dict:
        """Check the recipient against the channel."""
        by_mail = attrs["channel"] == Notification.Channel.EMAIL
        try:
            (validate_email if by_mail else validate_phone)(attrs["recipient"])
        except DjangoValidationError as error:
            raise serializers.ValidationError({"recipient": error.messages}) from error
        return attrs

    def to_representation(self, instance: Notification) -> dict:
        """Mask the recipient."""
        return super().to_representation(instance) | {"recipient": instance.masked_recipient}
